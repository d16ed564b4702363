"""run_live: one stream in and out that neither falls behind nor dies."""

from __future__ import annotations

import threading
from pathlib import Path

from ..device.device_selection import find_devices
from ..engines import open_engine
from ..errors import UsageError
from ..options import LiveOptions, Precision, SinkOptions, SourceOptions
from .address import check_input
from .engine_pool import Opener
from .event_log import EventLog
from .fallback_models import LiveModels
from .live_report import LiveReport
from .output_target import Target, check_target, find_target
from .redaction import redact
from .stream_loop import LiveRun
from .telemetry import PreviewTap, StreamTelemetry


def run_live(
    src: str | Path,
    dst: str | Path,
    *,
    scale: float = 2,
    size: tuple[int, int] | None = None,
    model: str = "lite",
    engine: str = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    threads: int = 0,
    source: SourceOptions | None = None,
    sink: SinkOptions | None = None,
    live: LiveOptions | None = None,
    telemetry: StreamTelemetry | None = None,
    tap: PreviewTap | None = None,
    log: EventLog | None = None,
    stop: threading.Event | None = None,
    opener: Opener = open_engine,
    frames_in_flight: int | None = None,
) -> LiveReport:
    """Upscale a stream as it comes, until it ends or `stop` is set.

    src: a URL, a device or "-"; dst: a URL, a path or "-". size: (width, height) box that the picture has to fit.
    telemetry, tap, log: what watches the stream. opener: what opens engines, see streamsr.live.engine_pool.
    frames_in_flight: at most, on a GPU, 1 to 4; None: the usual number.
    Raises UsageError before anything connects; SourceError and SinkError for what cannot be had or, by --reconnect, is given up;
    EngineError; Interrupted where it was stopped before the first frame.
    """
    live = live or LiveOptions()
    src, dst = str(src), str(dst)
    target = check_live(src, dst, source=source or SourceOptions(), sink=sink or SinkOptions(), live=live)
    name = redact(src)
    log = log or EventLog(name, urls=[src, dst], quiet=True)
    device = find_devices(device, engine=engine, model=model).split(",")[0]
    models = LiveModels(
        model, scale, size, engine, device, precision, threads, fixed=live.fixed_model, opener=opener, frames_in_flight=frames_in_flight,
        say=lambda words: log.event("engine", words=words),
    )  # fmt: skip
    stream = LiveRun(
        src, target, LiveReport(name, redact(dst)), models,
        source or SourceOptions(), sink or SinkOptions(), live, telemetry or StreamTelemetry(name), tap,
        log, stop or threading.Event(),
    )  # fmt: skip
    return stream.run()


def check_live(src: str, dst: str, *, source: SourceOptions, sink: SinkOptions, live: LiveOptions) -> Target:
    """Find out before anything connects whether the two ends can be. Raises UsageError or SinkError."""
    check_input(src)
    target = find_target(dst, sink.format, live)
    check_target(target, sink, source_url=src)
    if source.decoder not in ("auto", "cpu"):
        raise UsageError(f"--decoder {source.decoder} is for files: live streams are decoded on the CPU.", hint="leave it out")
    if source.start_s is not None or source.end_s is not None:
        raise UsageError("A live stream has no --start and no --end.", hint="--frames N ends it after N frames")
    return target
