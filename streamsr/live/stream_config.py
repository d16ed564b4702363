"""StreamOrder: everything that one stream of several is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from ..device.device_selection import find_devices
from ..options import LiveOptions, Precision, SinkOptions, SourceOptions
from .address import scheme_of
from .api import check_live, run_live
from .engine_pool import Opener
from .event_log import EventLog
from .fallback_models import LiveModels
from .live_report import LiveReport
from .telemetry import PreviewTap, StreamTelemetry


@dataclass(frozen=True, slots=True)
class StreamOrder:
    """The arguments of `run_live` under a name. Two orders that are equal are the same stream."""

    name: str
    src: str
    dst: str
    scale: float
    size: tuple[int, int] | None
    model: str
    engine: str
    device: str
    precision: Precision
    threads: int
    source: SourceOptions
    sink: SinkOptions
    live: LiveOptions
    frames_in_flight: int | None = None  # on a GPU
    report: Path | None = None  # where the account goes as JSON

    @property
    def place(self) -> str:
        """The output, in a form that two streams must not share."""
        return self.dst if scheme_of(self.dst) is not None or self.dst == "-" else str(Path(self.dst).absolute())

    def check(self) -> None:
        """Find out before anything connects whether it can be. Raises UsageError, SinkError or EngineError."""
        check_live(self.src, self.dst, source=self.source, sink=self.sink, live=self.live)
        device = self.device if self.device == "auto" else find_devices(self.device, engine=self.engine, model=self.model).split(",")[0]
        LiveModels(self.model, self.scale, self.size, self.engine, device, self.precision, self.threads, fixed=self.live.fixed_model)

    def run(
        self, *, opener: Opener, telemetry: StreamTelemetry, tap: PreviewTap | None, log: EventLog, stop: threading.Event
    ) -> LiveReport:
        """See `run_live`."""
        return run_live(
            self.src, self.dst, scale=self.scale, size=self.size, model=self.model, engine=self.engine, device=self.device,
            precision=self.precision, threads=self.threads, source=self.source, sink=self.sink, live=self.live, telemetry=telemetry,
            tap=tap, log=log, stop=stop, opener=opener, frames_in_flight=self.frames_in_flight,
        )  # fmt: skip
