"""streamsr compare OUT --ref REF"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import values

if TYPE_CHECKING:
    from ..compare import Comparison

HELP = "measure a result against its original"
EPILOG = """measures, higher is better:
  Efficient-PBAN  what people would say, 0 to 1 (learned from opinions; see trainer/metric/README.md)
  PSNR-Y, SSIM-Y  of luma
  VMAF            0 to 100, where an ffmpeg with libvmaf is found

"""
_SHOWN_TIMES = 8  # of frames without a partner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", metavar="OUT", help="a video, a picture or an image pattern")
    parser.add_argument("--ref", metavar="REF", required=True, help="its original, of the same size; frames are paired by time")
    parser.add_argument("--every", type=values.count, default=1, metavar="N", help="measure each N-th pair of frames only")
    parser.add_argument("--engine", choices=["auto", "openvino", "onnxruntime"], default="auto", help="of the metric (default: auto)")
    parser.add_argument("--threads", type=values.natural, default=0, metavar="N", help="0 = all")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores over time (.png, .svg, .pdf)")
    parser.add_argument("--quiet", action="store_true", help="the means only")


def main(options: argparse.Namespace) -> int:
    """Print a line a frame, the means, and what could not be paired."""
    from ..compare import FrameScores, compare

    if options.plot is not None:
        from ..compare.score_plot import check_plot

        check_plot(options.plot)
    num_frames = 0

    def show(scores: FrameScores) -> None:
        nonlocal num_frames
        num_frames += 1
        if sys.stderr.isatty():
            print(f"\r{num_frames} frames, {scores.time_s:.3f} s", end="", file=sys.stderr, flush=True)

    try:
        comparison = compare(
            options.result, options.ref, every=options.every, engine=options.engine, threads=options.threads,
            on_frame=None if options.quiet else show,
        )  # fmt: skip
    finally:
        if num_frames and sys.stderr.isatty():
            print(file=sys.stderr)
    print(json.dumps(comparison.as_dict(), indent=2) if options.json else table(comparison, frames=not options.quiet))
    if options.plot is not None:
        from ..compare.score_plot import save_plot

        save_plot(comparison, options.plot)
    return 0


def table(comparison: Comparison, *, frames: bool = True) -> str:
    """The frames (unless there is but one) and the means, then notes and frames without a partner."""
    from ..compare.comparison import MEASURES

    lines = [f"{'time':>12s}  {'Efficient-PBAN':>14s}  {'PSNR-Y':>8s}  {'SSIM-Y':>7s}  {'VMAF':>7s}"]

    def add(label: str, numbers: list[float | None]) -> None:
        cells = ["-" if x is None else f"{x:.{digits}f}" for x, digits in zip(numbers, (4, 3, 4, 2), strict=True)]
        lines.append(f"{label:>12s}  {cells[0]:>14s}  {cells[1]:>8s}  {cells[2]:>7s}  {cells[3]:>7s}")

    if frames and len(comparison.frames) > 1:
        for frame in comparison.frames:
            add(f"{frame.time_s:.3f} s", [getattr(frame, name) for name in MEASURES])
    add("mean", [comparison.mean(name) for name in MEASURES])
    measured = f"{len(comparison.frames)} of {comparison.num_pairs} pairs of frames measured, {comparison.width}x{comparison.height}"
    lines += ["", measured, *comparison.notes]
    for times, name in ((comparison.unpaired_result, comparison.result), (comparison.unpaired_original, comparison.original)):
        if times:
            shown = ", ".join(f"{time:.3f}" for time in times[:_SHOWN_TIMES]) + (", ..." if len(times) > _SHOWN_TIMES else "")
            lines.append(f"{len(times)} frames of {name} have no partner, at seconds: {shown}")
    return "\n".join(lines)
