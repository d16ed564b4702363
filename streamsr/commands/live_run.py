"""What `streamsr run` does where the input or the output is a live stream."""

from __future__ import annotations

import argparse
import logging
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from ..options import JobOptions
from ..report_file import write_report
from . import monitoring_arguments, option_table

if TYPE_CHECKING:
    from ..live.live_report import LiveReport
    from ..options import RunOptions

_log = logging.getLogger("streamsr.commands.live_run")

def resolve_ends(src: str, dst: str) -> tuple[str, str]:
    """Input and output with `env:NAME` read; Raises UsageError for invalid values."""
    from ..live.address import check_input, resolve

    resolved = resolve(src), resolve(dst)
    check_input(resolved[0])
    return resolved


def applies(options: argparse.Namespace, src: str, dst: str) -> bool:
    """Whether this run is live. Raises UsageError for invalid values."""
    from ..errors import UsageError
    from ..live.address import is_file_behind, is_live
    from ..live.output_target import find_target, is_hls

    given = vars(options)
    is_network = find_target(dst, options.format, option_table.live_options(given)).is_network if "://" in dst else False
    if options.live is False and is_network:
        raise UsageError("A network output is live.", hint="leave out --no-live")
    if options.live or is_network:
        return True
    if options.live is None and is_live(src) and not is_file_behind(src, options.timeout):
        return True
    if is_hls(dst) or options.segment_time is not None:
        what = "--segment-time" if options.segment_time is not None else f"The HLS folder {dst}"
        raise UsageError(f"{what} is only for live streams; {src} is not one.", hint="--live plays it at its own speed")
    return False


def main(options: argparse.Namespace, src: str, dst: str, settings: RunOptions, stop: threading.Event) -> int:
    """Run the stream and print its account."""
    from ..errors import Interrupted, StreamsrError, UsageError
    from ..live.api import run_live
    from ..live.event_log import EventLog
    from ..live.monitoring import Watch
    from ..live.observers import Observers
    from ..live.redaction import redact
    from ..live.telemetry import StreamTelemetry

    if settings.sink.encode.realtime:
        raise UsageError("--realtime is for files: a live stream adapts by itself.", hint="leave it out")
    if settings.upscale.batch != 1:
        raise UsageError("--batch is for files: live streams process one frame at a time.", hint="leave it out")
    live = option_table.live_options(vars(options))
    telemetry = StreamTelemetry(redact(src))
    log = EventLog(telemetry.name, urls=[src, dst])
    try:
        with Watch(monitoring_arguments.watch_options(options)) as watch:
            observers = Observers(telemetry, log, watch.add(telemetry))
            for name, url in watch.urls.items():
                log.event(f"{name} served", url=url)
            report = run_live(src, dst, options=replace(settings, job=JobOptions()), live=live, observers=observers, stop=stop)
        if options.report is not None:
            write_report(options.report, report.as_dict())
        if options.log_json:
            log.event("ended", exit_code=0, reason=report.ended_by, account=report.line(), notes=report.notes)
    except Interrupted:
        log.event("ended", exit_code=0, reason="stopped before its first picture")
        return 0
    except StreamsrError as error:
        if not options.log_json:
            raise
        log.failure(error)
        return error.exit_code
    finally:
        log.close()
    if not options.log_json:
        for note in report.notes:
            _log.warning("%s", note)
        _log.info("%s", summary(report))
        _log.info("%s", report.line())
    return 0


def summary(report: LiveReport) -> str:
    """The final line of a live run."""
    size = f"{report.source['width']}x{report.source['height']} to {report.result['width']}x{report.result['height']}"
    p99_s = report.latency["p99_s"]
    late = "" if p99_s is None else f", 99 % within {p99_s * 1000:.0f} ms"
    return (
        f"{report.output}: {report.num_out} frames {size} in {report.elapsed_s:.1f} s{late}, {report.model} on {report.engine} "
        f"({report.reason}), {report.encoder}; ended by {report.ended_by}"
    )
