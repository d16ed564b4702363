"""How a live stream is treated: what may be late, what happens when a side is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError

OnLoss = Literal["hold", "slate", "stop"]
Transport = Literal["tcp", "udp"]
HlsType = Literal["fmp4", "ts"]
FOREVER = math.inf


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """Options of one live stream. Raises UsageError for values that cannot be."""

    max_latency_s: float = 0.5  # a frame further behind the source's clock is dropped where a newer one is there
    timeout_s: float = 10.0  # of every open, read and write
    reconnect: float = FOREVER  # attempts in a row before a side is given up; 0: the first loss ends the stream
    on_loss: OnLoss = "hold"  # what goes out while the source is gone
    slate: str | None = None  # a picture for "slate"; dark grey without
    fixed_model: bool = False  # never give up quality for time
    rtsp_transport: Transport = "tcp"
    segment_s: float | None = None  # length of a file, where the output is cut into several; of an HLS segment
    hls_type: HlsType = "fmp4"
    hls_segments: int = 10  # that the playlist names

    def __post_init__(self) -> None:
        if not 0.02 <= self.max_latency_s <= 60:
            raise UsageError(f"--max-latency is {self.max_latency_s * 1000:g} ms; it must be 20 to 60000.")
        if not 0.5 <= self.timeout_s <= 3600:
            raise UsageError(f"--timeout is {self.timeout_s:g} s; it must be 0.5 to 3600.")
        if self.reconnect < 0:
            raise UsageError(f"--reconnect is {self.reconnect:g}; it must be forever, off or a number of attempts.")
        if self.segment_s is not None and not 0.5 <= self.segment_s <= 86400:
            raise UsageError(f"--segment-time is {self.segment_s:g} s; it must be 0.5 s to a day.")
        if not 2 <= self.hls_segments <= 100_000:
            raise UsageError(f"--hls-segments is {self.hls_segments}; it must be 2 to 100000.")
        if self.slate is not None and self.on_loss != "slate":
            raise UsageError("--slate needs --on-loss slate.")
