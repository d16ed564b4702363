"""streamsr run INPUT OUTPUT"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..live.redaction import redact
from . import batch, live_run, monitoring_arguments, values

if TYPE_CHECKING:
    from ..options import Precision, SinkOptions, SourceOptions
    from ..pipeline import Report
    from ..upscaling.upscaler import Upscaler

HELP = "upscale a video"
EPILOG = """examples:
  streamsr run in.mp4 out.mp4
  streamsr run film.mkv film-4k.mkv --size 4k
  streamsr run films/ upscaled/ --recursive
  streamsr run frames/%05d.png out.mp4 --input-rate 24
  ffmpeg -i in.mp4 -f nut - | streamsr run - - --format nut | ffplay -
  streamsr run rtsp://camera/stream rtsp://server/up
  streamsr run rtsp://camera/stream - --format mpegts | ffplay -
  CAM=rtsp://user:password@camera/stream streamsr run env:CAM recording.mkv

"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("inputs", metavar="INPUT", nargs="+",
        help="a file, several of them, a folder, an image pattern (frames/%%05d.png), a URL, env:NAME (a URL) or - for stdin")  # fmt: skip
    add("output", metavar="OUTPUT", help="mp4, mkv, mov, webm, ts, nut, y4m, images (out/%%05d.png), a folder, a URL or - for stdout")

    group = parser.add_argument_group("picture")
    wanted = group.add_mutually_exclusive_group()
    wanted.add_argument("--scale", type=values.scale, metavar="N", help="factor, 2 by default; 3, 4 or any other such as 1.5")
    wanted.add_argument("--size", type=values.size, metavar="S", help="fit into 1440p, 4k or WxH; aspect kept, even sides")
    group.add_argument("--model", default="lite", metavar="M", help="see `streamsr models`, or PATH.onnx (default: lite)")
    group.add_argument("--deinterlace", choices=["auto", "on", "off"], default="auto", help="default: what the frames say")
    group.add_argument("--start", type=values.seconds, metavar="T", help="first time wanted: seconds or h:mm:ss")
    group.add_argument("--end", type=values.seconds, metavar="T", help="first time not wanted")
    group.add_argument("--frames", type=values.count, metavar="N", help="at most N frames")

    group = parser.add_argument_group("engine")
    group.add_argument("--engine", default="auto", metavar="E",
                       help="auto, openvino, onnxruntime, torch, tensorrt, resize (see `streamsr doctor`)")  # fmt: skip
    group.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda:0, cuda:all, mps (default: auto)")
    group.add_argument("--precision", choices=["auto", "f32", "f16", "bf16", "int8"], default="auto", help="default: auto")
    group.add_argument("--wait-engine", action="store_true", help="build TensorRT first, rather than go over to it while frames run")
    group.add_argument("--frames-in-flight", type=values.flight, metavar="N", help="on a GPU, 1 to 4 (default: 3)")
    group.add_argument("--batch", type=values.count, default=1, metavar="N", help="frames at once in the network, on a GPU (default: 1)")
    group.add_argument("--threads", type=values.natural, default=0, metavar="N", help="of the engine and the codecs, 0 = all")
    group.add_argument("--realtime", action="store_true", help="settings that keep up on this machine")

    group = parser.add_argument_group("encoding")
    group.add_argument("--encoder", default="auto", metavar="NAME", help="auto, libx264, libx265, libsvtav1, libvpx-vp9, ffv1, ...")
    group.add_argument("--crf", type=float, metavar="Q", help="constant quality on the encoder's scale, lower is better")
    group.add_argument("--preset", metavar="P", help="speed of the encoder, such as ultrafast or slow")
    group.add_argument("--pix-fmt", metavar="F", help="default: the source's")
    group.add_argument("--encoder-option", type=values.pair, action="append", default=[], metavar="K=V", help="any, repeatable")
    group.add_argument("--format", metavar="F", help="of the output where its name does not say: nut, y4m, mpegts, rawvideo, ...")
    group.add_argument("--overwrite", action="store_true", help="replace an existing output")
    group.add_argument("--strict", action="store_true", help="fail rather than drop a stream or a tag")

    group = parser.add_argument_group("input")
    group.add_argument("--input-format", metavar="F", help="FFmpeg's name, such as rawvideo, nut or yuv4mpegpipe")
    group.add_argument("--input-size", type=values.pixels, metavar="WxH", help="of raw video")
    group.add_argument("--input-pix-fmt", metavar="F", help="of raw video, such as yuv420p")
    group.add_argument("--input-rate", type=values.rate, metavar="R", help="of raw video and image sequences (default: 25)")
    group.add_argument("--decoder", choices=["auto", "nvdec", "cpu", "dali"], default="auto", help="default: NVDEC, or else the CPU")
    group.add_argument("--max-errors", type=values.natural, default=32, metavar="N", help="corrupt packets in a row to skip (default: 32)")

    group = parser.add_argument_group("job")
    group.add_argument("--segment-seconds", type=values.duration, default=10.0, metavar="S",
                       help="length of the parts of a long file, which let it go on after a crash; 0: in one piece")  # fmt: skip
    group.add_argument("--workers", type=values.workers, default=1, metavar="N",
                       help="processes that make such parts, or auto: one a device, or for four cores (default: 1)")  # fmt: skip
    group.add_argument("--cluster", metavar="C", help="a Ray cluster that makes such parts: auto or ray://HOST:10001 (docs/cluster.md)")
    group.add_argument("--work-folder", metavar="F",
                       help="where such parts go: a folder or URL in reach of all nodes (default: OUTPUT.streamsr)")  # fmt: skip
    group.add_argument("--restart", action="store_true", help="throw away what an earlier run of this output has done")
    group.add_argument("--recursive", action="store_true", help="of a folder as INPUT: take in the folders inside, kept as they are")

    live_run.add_arguments(parser)

    group = parser.add_argument_group("report")
    group.add_argument("--quiet", action="store_true", help="errors only")
    group.add_argument("--report", type=Path, metavar="FILE", help="write what happened as JSON")


def main(options: argparse.Namespace) -> int:
    """Run and print the account; the exit code says what failed."""
    from ..errors import UsageError
    from ..jobs.batch_items import is_batch

    options.input = options.inputs[0]
    options.engine = settled_engine(options)
    source, sink = source_options(options), sink_options(options)
    if options.report is not None and not options.report.parent.is_dir():
        raise UsageError(f"--report {options.report}: the folder {options.report.parent} does not exist.")
    stop = stop_on_signals()
    if is_batch(options.inputs, options.output):
        if options.live:
            raise UsageError("--live takes one input and one output.", hint="run one streamsr for each stream")
        monitoring_arguments.refuse(options)
        return batch.main(options, source, sink, stop, upscale)
    if options.recursive:
        raise UsageError(f"--recursive is for folders, and {options.input} is none.", hint="leave it out")
    if live_run.applies(options):
        return live_run.main(options, source, sink, stop)
    monitoring_arguments.refuse(options)
    report = upscale(options, options.input, options.output, source, sink, stop)
    if options.report is not None:
        facts = report.as_dict() | {"input": redact(report.input)}
        options.report.write_text(json.dumps(facts, indent=2, default=str) + "\n")
    return 0


def upscale(
    options: argparse.Namespace, src: str, dst: str, source: SourceOptions, sink: SinkOptions, stop: threading.Event, *,
    title: str = "", engines: Callable[[str, Precision], Upscaler] | None = None,
) -> Report:  # fmt: skip
    """One video, with its progress, its warnings and its account on stderr.

    title: which of several it is. engines: gives the Upscaler that several videos share.
    """
    from ..jobs.job import ChangedJobError, run
    from .progress import Display  # rich and av take longer to import than --help may take

    model, precision = options.model, options.precision
    if options.realtime:
        from ..realtime import choose_realtime

        model, precision, why = choose_realtime(
            src, source, scale=options.scale or 2, size=options.size, model=model, precision=precision,
            engine=options.engine, device=options.device, threads=options.threads,
        )  # fmt: skip
        if not options.quiet:
            print(f"real time: {why}", file=sys.stderr)

    def go(*, restart: bool) -> Report:
        with Display(quiet=options.quiet, title=title) as display:
            return run(
                src, dst, scale=options.scale or 2, size=options.size, model=model, engine=options.engine,
                device=options.device, precision=precision, threads=options.threads, source=source, sink=sink,
                segment_seconds=options.segment_seconds, workers=options.workers, cluster=options.cluster,
                work=options.work_folder, restart=restart, frames_in_flight=options.frames_in_flight, batch=options.batch,
                upscaler=None if engines is None else engines(model, precision), on_progress=display.update, stop=stop,
            )  # fmt: skip

    try:
        report = go(restart=options.restart)
    except ChangedJobError as error:
        if not _wants_restart(error.message):
            raise
        report = go(restart=True)
    if not options.quiet:
        for note in report.notes:
            print(f"warning: {note}", file=sys.stderr)
        print(summary(report), file=sys.stderr)
        print(report.account.line(), file=sys.stderr)
    return report


def _wants_restart(message: str) -> bool:
    """Ask at a terminal whether to throw an unfinished job away; without one, no."""
    if sys.stdin is None or not sys.stdin.isatty() or not sys.stderr.isatty():
        return False
    print(f"streamsr: {message}\nStart over and throw away what is done? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def summary(report: Report) -> str:
    """The final line of a run."""
    speed = report.fps * report.media_s / report.num_frames
    size = f"{report.source['width']}x{report.source['height']} to {report.result['width']}x{report.result['height']}"
    return (
        f"{report.output}: {report.num_frames} frames {size} in {report.elapsed_s:.1f} s, {report.fps:.1f} fps, {speed:.2f}x real time, "
        f"{report.model} on {report.engine} ({report.reason}), {report.encoder}{_parts(report)}"
    )


def _parts(report: Report) -> str:
    """How a job was made, where it was not in one piece."""
    if report.num_segments == 1:
        return ""
    workers = f" by {report.num_workers} workers" if report.num_workers > 1 else ""
    resumed = f", {report.num_resumed} of them from an earlier run" if report.num_resumed else ""
    return f", {report.num_segments} segments{workers}{resumed}"


def settled_engine(options: argparse.Namespace) -> str:
    """--engine, with what --wait-engine makes of "auto" on a GPU."""
    from ..engines import choose_engine

    waits = options.wait_engine and options.engine in ("auto", "cuda")
    return "tensorrt" if waits and choose_engine(options.engine, options.device) == "cuda" else options.engine


def source_options(options: argparse.Namespace) -> SourceOptions:
    """How to read the input. Raises UsageError for what cannot be."""
    from ..errors import UsageError
    from ..options import SourceOptions

    if options.start is not None and options.end is not None and options.end <= options.start:
        raise UsageError(f"--end {options.end:g} is not after --start {options.start:g}.")
    if options.input_format == "rawvideo" and (options.input_size is None or options.input_pix_fmt is None):
        raise UsageError("Raw video needs --input-size and --input-pix-fmt.", hint="such as --input-size 640x360 --input-pix-fmt yuv420p")
    return SourceOptions(
        start_s=options.start, end_s=options.end, num_frames=options.frames, deinterlace=options.deinterlace, max_errors=options.max_errors,
        threads=options.threads, input_format=options.input_format, input_size=options.input_size,
        decoder=options.decoder, input_pix_fmt=options.input_pix_fmt,
        input_rate=options.input_rate, timeout_s=options.timeout if "://" in options.input else None,
    )  # fmt: skip


def sink_options(options: argparse.Namespace) -> SinkOptions:
    """How to write the output."""
    from ..options import EncoderOptions, SinkOptions

    encode = EncoderOptions(
        encoder=options.encoder, crf=options.crf, preset=options.preset, pix_fmt=options.pix_fmt,
        options=dict(options.encoder_option), threads=options.threads, realtime=options.realtime,
    )  # fmt: skip
    return SinkOptions(encode=encode, format=options.format, overwrite=options.overwrite, strict=options.strict)


def stop_on_signals() -> threading.Event:
    """The first Ctrl-C or SIGTERM ends the run in order, the second at once."""
    stop = threading.Event()

    def handle(number: int, _: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), handle)
    return stop
