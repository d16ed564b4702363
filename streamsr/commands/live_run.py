"""What `streamsr run` does where the input or the output is a live stream."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from typing import TYPE_CHECKING

from . import monitoring_arguments, values

if TYPE_CHECKING:
    from ..live.live_report import LiveReport
    from ..options import LiveOptions, SinkOptions, SourceOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    words = "rtsp, rtmp, srt, udp, rtp, tcp, http and HLS URLs, /dev/video0; Ctrl-C and SIGTERM end them with exit code 0"
    group = parser.add_argument_group("live streams", words)
    add = group.add_argument
    add("--live", action=argparse.BooleanOptionalAction, help="keep up rather than keep every frame (default: for URLs and devices)")
    add("--max-latency", type=values.milliseconds, default=0.5, metavar="MS", help="later frames are dropped for newer ones (default: 500)")
    add("--fixed-model", action="store_true", help="where the machine cannot keep up, drop frames; default: a lighter model, then resize")
    add("--timeout", type=values.seconds, default=10.0, metavar="T", help="of every open, read and write in seconds (default: 10)")
    add("--reconnect", type=values.attempts, default="forever", metavar="R", help="forever, off or a number of attempts (default: forever)")
    add("--on-loss", choices=["hold", "slate", "stop"], default="hold", help="while the source is gone: last picture, a card, or end")
    add("--slate", metavar="IMAGE", help="the card of --on-loss slate (default: dark grey)")
    add("--rtsp-transport", choices=["tcp", "udp"], default="tcp", help="for reading (default: tcp)")
    add("--segment-time", type=values.span, metavar="T",
        help="cut the output into files of 10m, 1h, ...; its name is a pattern: cam-%%Y%%m%%d-%%H%%M%%S.mp4 or cam-%%05d.mp4; "
        "of an HLS folder (out/index.m3u8), the length of a segment (default: 2s)")  # fmt: skip
    add("--hls-type", choices=["fmp4", "ts"], default="fmp4", help="of an HLS folder's segments (default: fmp4)")
    add("--hls-segments", type=values.count, default=10, metavar="N", help="that the playlist names; older ones are deleted (default: 10)")
    monitoring_arguments.add_arguments(parser)


def applies(options: argparse.Namespace) -> bool:
    """Whether this run is live. Settles `env:NAME`, hides passwords from `ps`, and refuses what cannot be."""
    from ..errors import UsageError
    from ..live.address import check_input, hide_arguments, is_file_behind, is_live, resolve
    from ..live.output_target import find_target, is_hls

    given = options.input, options.output
    options.input, options.output = resolve(options.input), resolve(options.output)
    hide_arguments(*given)
    check_input(options.input)
    is_network = find_target(options.output, options.format, live_options(options)).is_network if "://" in options.output else False
    if options.live is False and is_network:
        raise UsageError("A network output is live.", hint="leave out --no-live")
    if options.live or is_network:
        return True
    if options.live is None and is_live(options.input) and not is_file_behind(options.input, options.timeout):
        return True
    if is_hls(options.output) or options.segment_time is not None:
        what = "--segment-time" if options.segment_time is not None else f"The HLS folder {options.output}"
        raise UsageError(f"{what} is for live streams, and {options.input} is none.", hint="--live plays it at its own speed")
    return False


def live_options(options: argparse.Namespace) -> LiveOptions:
    """The options of the group as the loop takes them. Raises UsageError for what cannot be."""
    from ..options import LiveOptions

    return LiveOptions(
        max_latency_s=options.max_latency, timeout_s=options.timeout, reconnect=options.reconnect, on_loss=options.on_loss,
        slate=options.slate, fixed_model=options.fixed_model, rtsp_transport=options.rtsp_transport, segment_s=options.segment_time,
        hls_type=options.hls_type, hls_segments=options.hls_segments,
    )  # fmt: skip


def main(options: argparse.Namespace, source: SourceOptions, sink: SinkOptions, stop: threading.Event) -> int:
    """Run the stream and print its account."""
    from ..errors import StreamsrError, UsageError
    from ..live.api import run_live
    from ..live.event_log import EventLog
    from ..live.monitoring import Watch
    from ..live.redaction import redact
    from ..live.telemetry import StreamTelemetry

    if options.realtime:
        raise UsageError("--realtime is for files: a live stream keeps up by itself.", hint="leave it out")
    if options.batch != 1:
        raise UsageError("--batch is for files: a live picture does not wait for others.", hint="leave it out")
    live = live_options(options)
    telemetry = StreamTelemetry(redact(options.input))
    log = EventLog(telemetry.name, as_json=options.log_json, urls=[options.input, options.output], quiet=options.quiet)
    try:
        with Watch(monitoring_arguments.watch_options(options)) as watch:
            tap = watch.add(telemetry)
            for name, url in watch.urls.items():
                log.event(f"{name} served", url=url)
            report = run_live(
                options.input, options.output, scale=options.scale or 2, size=options.size, model=options.model, engine=options.engine,
                device=options.device, precision=options.precision, threads=options.threads, source=source, sink=sink, live=live,
                telemetry=telemetry, tap=tap, log=log, stop=stop, frames_in_flight=options.frames_in_flight,
            )  # fmt: skip
        if options.report is not None:
            options.report.write_text(json.dumps(report.as_dict(), indent=2, default=str) + "\n")
        if options.log_json:
            log.event("ended", exit_code=0, reason=report.ended_by, account=report.line(), notes=report.notes)
    except StreamsrError as error:
        if not options.log_json:
            raise
        log.failure(error)
        return error.exit_code
    finally:
        log.close()
    if not options.quiet and not options.log_json:
        for note in report.notes:
            print(f"warning: {note}", file=sys.stderr)
        print(summary(report), file=sys.stderr)
        print(report.line(), file=sys.stderr)
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
