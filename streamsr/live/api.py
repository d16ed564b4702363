"""run_live: one stream in and out that keeps up and survives failures."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from ..device.device_selection import find_devices
from ..engines import open_engine
from ..errors import UsageError
from ..options import JobOptions, LiveOptions, RunKeywords, RunOptions, gather
from ..output_file import OutputLock
from .address import check_input
from .engine_pool import Opener
from .event_log import EventLog
from .fallback_models import LiveModels
from .live_report import LiveReport
from .observers import Observers
from .output_target import Target, check_target, find_target
from .redaction import redact
from .stream_loop import LiveRun
from .telemetry import StreamTelemetry


def run_live(
    src: str | Path,
    dst: str | Path,
    *,
    options: RunOptions | None = None,
    live: LiveOptions | None = None,
    observers: Observers | None = None,
    opener: Opener = open_engine,
    stop: threading.Event | None = None,
    **keywords: Unpack[RunKeywords],
) -> LiveReport:
    """Upscale a stream as it comes, until it ends or `stop` is set.

    src: a URL, a device or "-"; dst: a URL, a path or "-". keywords: single fields of `options`, such as model="base"; see
    streamsr.options. observers: what watches the stream. opener: what opens engines, see streamsr.live.engine_pool.
    Raises UsageError before anything connects; SourceError and SinkError for what is unavailable or, by --reconnect, is given up;
    EngineError; Interrupted where it was stopped before the first frame.
    """
    live = live or LiveOptions()
    src, dst = str(src), str(dst)
    options = gather(keywords, options)
    target = check_live(src, dst, options, live)
    name = redact(src)
    observers = observers or Observers(StreamTelemetry(name), EventLog(name, urls=[src, dst]))
    log = observers.log
    models = LiveModels(
        replace(options.upscale, device=find_devices(options.upscale)[0]), fixed=live.fixed_model, opener=opener,
        say=lambda words: log.event("engine", words=words),
    )  # fmt: skip
    stream = LiveRun(src, target, LiveReport(name, redact(dst)), models, options, live, observers, stop or threading.Event())
    target.make_folder()
    with OutputLock(target.url):
        return stream.run()


def check_live(src: str, dst: str, options: RunOptions, live: LiveOptions) -> Target:
    """Check input and output before anything connects. Raises UsageError or SinkError."""
    check_input(src)
    source = options.source
    target = find_target(dst, options.sink.format, live)
    check_target(target, options.sink, source_url=src)
    if options.job != JobOptions():
        hint = "segment_seconds, workers, cluster, work_folder and restart are for files"
        raise UsageError("A live stream is not made in segments.", hint=hint)
    if source.decoder not in ("auto", "cpu"):
        raise UsageError(f"--decoder {source.decoder} is for files: live streams are decoded on the CPU.", hint="leave it out")
    if source.start_s is not None or source.end_s is not None:
        raise UsageError("A live stream has no --start and no --end.", hint="--frames N ends it after N frames")
    return target
