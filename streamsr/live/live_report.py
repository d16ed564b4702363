"""What a live stream did, from its start to its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .._version import __version__


@dataclass(slots=True)
class LiveReport:
    """`as_dict` is what --report writes. URLs are without their secrets."""

    input: str
    output: str
    model: str = ""  # at the end
    engine: str = ""
    reason: str = ""  # why this engine and precision
    encoder: str = ""
    source: dict[str, Any] = field(default_factory=dict)  # tags of the first picture
    result: dict[str, Any] = field(default_factory=dict)
    rate: float = 0.0  # nominal, of the source
    ended_by: Literal["", "source", "stop", "frames", "failure"] = ""
    elapsed_s: float = 0.0
    first_frame_s: float | None = None  # from the start to the first frame sent
    num_before_start: int = 0  # frames that came while the output was still being opened
    num_in: int = 0  # frames decoded since
    num_out: int = 0  # of these, frames that the sink took
    num_held: int = 0  # frames shown again, or a slate, while the source was silent
    dropped: dict[str, int] = field(default_factory=dict)  # frames by reason
    reconnects: dict[str, int] = field(default_factory=dict)  # by side
    num_quality_changes: int = 0
    num_clock_jumps: int = 0
    num_corrupt_packets: int = 0
    latency: dict[str, Any] = field(default_factory=dict)  # seconds from a packet's arrival until FFmpeg sent its frame
    notes: list[str] = field(default_factory=list)
    version: str = __version__

    @property
    def balanced(self) -> bool:
        """Whether every frame that came in either went out or is counted as dropped."""
        return self.num_in == self.num_out + sum(self.dropped.values())

    def line(self) -> str:
        """The frame account of a live stream."""
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(self.dropped.items())) or "none"
        verdict = "account balanced" if self.balanced else "ACCOUNT NOT BALANCED"
        reconnects = sum(self.reconnects.values())
        return (
            f"{verdict}: {self.num_in} frames in = {self.num_out} out + {sum(self.dropped.values())} dropped ({dropped}); "
            f"{self.num_held} held, {reconnects} reconnects"
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"account": {"ok": self.balanced, "line": self.line()}}
