"""StreamConfig: the whole configuration of one stream of several."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from ..device.device_selection import find_devices
from ..options import LiveOptions, RunOptions
from .address import scheme_of
from .api import check_live, run_live
from .engine_pool import Opener
from .fallback_models import LiveModels
from .live_report import LiveReport
from .observers import Observers
from .output_target import find_target


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The arguments of `run_live` under a name. Two that are equal are the same stream."""

    name: str
    src: str
    dst: str
    options: RunOptions
    live: LiveOptions
    report: Path | None = None  # where the account goes as JSON

    @property
    def place(self) -> str:
        """The output, in a form that two streams must not share."""
        return self.dst if scheme_of(self.dst) is not None or self.dst == "-" else str(Path(self.dst).absolute())

    @property
    def is_recording(self) -> bool:
        """Whether the output is one file that gets its name when it is complete."""
        target = find_target(self.dst, self.options.sink.format, self.live)
        return target.path != target.url

    @property
    def device(self) -> str:
        return self.options.upscale.device

    def on(self, device: str) -> StreamConfig:
        """The same on another device."""
        upscale = replace(self.options.upscale, device=device)
        return replace(self, options=replace(self.options, upscale=upscale))

    def check(self) -> None:
        """Check it before anything connects. Raises UsageError, SinkError or EngineError."""
        check_live(self.src, self.dst, self.options, self.live)
        upscale = self.options.upscale
        device = self.device if self.device == "auto" else find_devices(upscale)[0]
        LiveModels(replace(upscale, device=device), fixed=self.live.fixed_model)

    def run(self, *, opener: Opener, observers: Observers, stop: threading.Event) -> LiveReport:
        """See `run_live`."""
        return run_live(self.src, self.dst, options=self.options, live=self.live, observers=observers, opener=opener, stop=stop)
