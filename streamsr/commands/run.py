"""streamsr run INPUT OUTPUT"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..live.redaction import redact
from ..report_file import check_report, write_report
from . import batch, live_run, monitoring_arguments, option_table, recipes
from .signals import stop_on_signals

if TYPE_CHECKING:
    from ..compare.result_check import ResultCheck
    from ..options import RunOptions, UpscaleOptions
    from ..outlook import Outlook
    from ..pipeline import Report
    from ..upscaling.upscaler import Upscaler

_log = logging.getLogger("streamsr.commands.run")

HELP = "upscale a video"
EPILOG = """examples:
  streamsr run in.mp4 out.mp4
  streamsr run film.mkv film-4k.mkv --size 4k
  streamsr run films/ upscaled/ --recursive
  streamsr run photos/ large/
  streamsr run frames/%05d.png out.mp4 --input-rate 24
  ffmpeg -i in.mp4 -f nut - | streamsr run - - --format nut | ffplay -
  streamsr run rtsp://camera/stream rtsp://server/up
  streamsr run rtsp://camera/stream - --format mpegts | ffplay -
  CAM=rtsp://user:password@camera/stream streamsr run env:CAM recording.mkv

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", metavar="INPUT", nargs="+",
        help="a file, several files, a folder, an image pattern (frames/%%05d.png), a URL, env:NAME (a URL) or - for stdin")  # fmt: skip
    add("output", metavar="OUTPUT",
        help="mp4, mkv, mov, webm, ts, avi, mxf, gif, apng, nut, y4m, images (out/%%05d.png), a folder, a URL or - for stdout")  # fmt: skip

    recipes.add_recipe(parser)
    for group in option_table.GROUPS:
        option_table.add_options(parser, group)
        if group == "live streams":
            monitoring_arguments.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Run and print the account; the exit code says what failed."""
    from ..errors import UsageError
    from ..io.names import follow_links, plain_name
    from ..jobs.batch_items import is_batch

    stop = stop_on_signals()
    options.inputs = [plain_name(name) for name in options.inputs]
    options.output = follow_links(plain_name(options.output))
    src = options.inputs[0]
    settings = option_table.run_options(vars(options), src)
    check_report(options.report)
    if is_batch(options.inputs, options.output):
        if options.live:
            raise UsageError("--live takes one input and one output.", hint="run one streamsr for each stream")
        monitoring_arguments.refuse(options)
        return batch.main(options, settings, stop, upscale)
    if options.recursive:
        raise UsageError(f"--recursive is only for folders; {src} is not one.", hint="leave it out")
    src, dst = live_run.resolve_ends(src, options.output)
    if live_run.applies(options, src, dst):
        return live_run.main(options, src, dst, settings, stop)
    monitoring_arguments.refuse(options)
    if not options.judge:
        report, found = upscale(src, dst, settings, stop, quiet=options.quiet), None
    else:
        from ..compare.result_check import ResultCheck

        with ResultCheck(options.judge, device=settings.upscale.device, threads=settings.upscale.threads) as check:
            report = upscale(src, dst, settings, stop, quiet=options.quiet, check=check)
        found = check.as_dict()
        _log.info("%s", check.line())
    if options.report is not None:
        facts = report.as_dict() | {"input": redact(report.input)} | ({} if found is None else {"judge": found})
        write_report(options.report, facts)
    return 0


def upscale(
    src: str, dst: str, settings: RunOptions, stop: threading.Event, *, quiet: bool, title: str = "",
    engines: Callable[[UpscaleOptions], Upscaler] | None = None, check: ResultCheck | None = None,
) -> Report:  # fmt: skip
    """One video, with its progress, its warnings and its account on stderr.

    check: is shown each result with its source. title: which of several it is. engines: gives the Upscaler that several videos share.
    """
    from ..jobs.job import ChangedJobError, run
    from ..outlook import learn
    from .progress import Display  # rich and av take longer to import than --help may take

    settings = settle_realtime(src, settings)
    outlooks: list[Outlook] = []

    def tell(outlook: Outlook) -> None:
        outlooks.append(outlook)
        _log.info("%s", outlook.line())

    def go(*, restart: bool) -> Report:
        with Display(quiet=quiet, title=title) as display:
            return run(
                src, dst, options=settings, restart=restart, upscaler=None if engines is None else engines(settings.upscale),
                on_progress=display.update, on_start=tell, stop=stop, check=check,
            )  # fmt: skip

    try:
        report = go(restart=settings.job.restart)
    except ChangedJobError as error:
        if not _wants_restart(error.message):
            raise
        report = go(restart=True)
    for note in report.notes:
        _log.warning("%s", note)
    if words := effort(report):
        _log.info("%s", words)
    _log.info("%s", summary(report))
    if outlooks and not report.num_resumed and report.num_workers == 1:
        learn(outlooks[-1], report.elapsed_s)
    _log.info("%s", report.account.line())
    return report


def settle_realtime(src: str, settings: RunOptions) -> RunOptions:
    """The settings with what --realtime asks for."""
    if not settings.sink.encode.realtime:
        return settings
    from ..realtime import choose_realtime

    chosen, encode, why = choose_realtime(src, settings.upscale, settings.source, settings.sink.encode)
    _log.info("real time: %s", why)
    return replace(settings, upscale=chosen, sink=replace(settings.sink, encode=encode))


def _wants_restart(message: str) -> bool:
    """Ask at a terminal whether to throw an unfinished job away; without one, no."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        return False
    sys.stderr.write(f"streamsr: {message}\nStart over and throw away what is done? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def summary(report: Report) -> str:
    """The final line of a run."""
    speed = report.fps * report.media_s / report.num_frames
    size = f"{report.source['width']}x{report.source['height']} to {report.result['width']}x{report.result['height']}"
    return (
        f"{report.output}: {report.num_frames} frames {size} in {report.elapsed_s:.1f} s, {report.fps:.1f} fps, {speed:.2f}x real time, "
        f"{report.model} on {report.engine} ({report.reason}), {report.encoder}{_fields(report)}{_crop(report)}{_parts(report)}"
    )


def _fields(report: Report) -> str:
    """What became of interlaced frames."""
    return f", {report.num_deinterlaced} interlaced frames deinterlaced" if report.num_deinterlaced else ""


def _crop(report: Report) -> str:
    """What was kept of each picture."""
    return f", cropped to {report.crop}" if report.crop else ""


def effort(report: Report) -> str:
    """Output size and bit rate compared with the source's, and the slowest stage."""
    from ..outlook import show_bytes

    words = []
    sizes = [Path(url).stat().st_size if Path(url).is_file() else 0 for url in (report.input, report.output)]
    if sizes[1] and report.media_s:
        ratio = f", {sizes[1] / sizes[0]:.1f} times the input" if sizes[0] else ""
        words.append(f"{show_bytes(sizes[1])} at {sizes[1] * 8e-6 / report.media_s:.1f} Mb/s{ratio}")
    encode_s, network_s = report.stage_s.get("encode", 0.0), report.stage_s.get("network", 0.0)
    if report.num_workers == 1 and encode_s > 0.5 * report.elapsed_s > 1:
        words.append("the encoder was the limit: a faster --preset helps")
    elif network_s > 0.7 * report.elapsed_s > 1:
        words.append("the network was the limit")
    return "; ".join(words)


def _parts(report: Report) -> str:
    """How a job was made, where it was not in one piece."""
    if report.num_segments == 1:
        return ""
    workers = f" by {report.num_workers} workers" if report.num_workers > 1 else ""
    resumed = f", {report.num_resumed} of them from an earlier run" if report.num_resumed else ""
    return f", {report.num_segments} segments{workers}{resumed}"
