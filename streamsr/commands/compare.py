"""streamsr compare OUT REF, streamsr compare A B --ref REF"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import values

if TYPE_CHECKING:
    from ..compare import Comparison

HELP = "measure results against their original"
EPILOG = """examples:
  streamsr compare out.mp4 original.mp4
  streamsr compare lite.mp4 base.mp4 --ref original.mp4 --html report.html

measures, higher is better:
  Efficient-PBAN  predicted opinion of people, 0 to 1 (see trainer/metric/README.md)
  PSNR-Y, SSIM-Y  of luma
  VMAF, VMAF-NEG  0 to 100; VMAF-NEG does not reward enhancement: pip install 'streamsr[compare]'

"""
_SHOWN_TIMES = 8  # of frames without a partner
_SHOWN_WORST = 3
_WITHIN_S = 40.0  # all measuring, so that everything takes less than a minute


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("videos", metavar="VIDEO", nargs="+",
                        help="one or two results, then their original unless --ref names it: videos, pictures, image patterns, "
                             "folders of pictures")  # fmt: skip
    parser.add_argument("--ref", metavar="REF", help="the original, of the same size; frames are paired by time")
    parser.add_argument("--every", type=values.every, default=None, metavar="N",
                        help="measure each N-th pair of frames only (default: auto, as many as take less than a minute)")  # fmt: skip
    parser.add_argument("--engine", choices=["auto", "openvino", "onnxruntime"], default="auto", help="default: auto")
    parser.add_argument("--device", default="cpu", metavar="D", help="device of the metric: cpu or cuda:0 (default: cpu)")
    parser.add_argument("--threads", type=values.natural, default=0, metavar="N", help="0 = all")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures, scores over time and differences")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--table", action="store_true", help="print a line for every measured frame")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the scores over time (.png, .svg, .pdf)")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def main(options: argparse.Namespace) -> int:
    """Measure, print a summary and write what was asked for."""
    from ..compare import FrameScores, compare, compare_folders
    from ..errors import UsageError
    from .progress import Meter

    paths = [*options.videos, *([options.ref] if options.ref is not None else [])]
    if not 2 <= len(paths) <= 3:
        hint = "streamsr compare OUT REF, or streamsr compare A B --ref REF"
        raise UsageError(f"compare takes one or two results and their original, not {len(paths)} file{'s' * (len(paths) > 1)}.", hint=hint)
    *results, original = paths
    are_folders = {Path(path).is_dir() for path in paths}
    if are_folders == {True, False}:
        raise UsageError(f"{', '.join(paths)}: folders of pictures can only be compared with each other.")
    if True in are_folders and (options.html is not None or options.plot is not None):
        raise UsageError("--html and --plot are for videos and single pictures.", hint="name the worst pictures of the folder, one by one")
    if options.plot is not None:
        from ..compare.score_plot import check_plot

        check_plot(options.plot)
    if options.html is not None:
        from ..compare.html_report import check_report

        check_report(options.html)
    engine = options.engine if options.device == "cpu" else options.device
    done: list[Comparison] = []
    for result in results:
        with Meter(f"{Path(result).name}", quiet=options.quiet) as meter:

            def show(scores: FrameScores, expected: int | None, meter: Meter = meter) -> None:
                meter.update(expected, scores.name or f"{scores.time_s:.2f} s")

            if True in are_folders:
                each = compare_folders(
                    result, original, every=options.every, engine=engine, threads=options.threads, on_frame=show
                )
                done.append(each)
                continue
            first = done[0] if done else None
            done.append(compare(
                result, original, every=options.every if first is None else first.every, times=() if first is None else first.times,
                within_s=_WITHIN_S / len(results), engine=engine, threads=options.threads, on_frame=show,
            ))  # fmt: skip
    if options.json:
        facts = [comparison.as_dict() for comparison in done]
        print(json.dumps(facts if len(facts) > 1 else facts[0], indent=2))
    else:
        print("\n\n".join(table(comparison) for comparison in done) if options.table else summary(done))
    if options.plot is not None:
        from ..compare.score_plot import save_plot

        save_plot(done[0], options.plot)
    if options.html is not None:
        from ..compare.html_report import save_report

        save_report(done, options.html)
        if not options.json:
            print(f"report: {options.html}")
    return 0


_COLUMNS = (
    ("efficient_pban", "Efficient-PBAN", 4), ("psnr", "PSNR-Y", 3), ("ssim", "SSIM-Y", 4), ("vmaf", "VMAF", 2), ("vmaf_neg", "VMAF-NEG", 2),
)  # fmt: skip


def summary(comparisons: Sequence[Comparison]) -> str:
    """About ten lines: mean, the worst twentieth and the worst frame of each measure, the worst moments, and what could not be done."""
    from ..compare.html_report import measured_words

    first = comparisons[0]
    lines = [f"{' and '.join(Path(c.result).name for c in comparisons)} against {Path(first.original).name}: {measured_words(first)}"]
    head = "".join(f"  {'mean':>9s} {'5 % below':>9s} {'worst':>9s}" for _ in comparisons)
    if len(comparisons) > 1:
        lines.append(f"{'':14s}" + "".join(f"  {Path(c.result).name[-29:]:>29s}" for c in comparisons))
    lines.append(f"{'':14s}{head}")
    for name, label, digits in _COLUMNS:
        cells = []
        for comparison in comparisons:
            values = sorted(value for frame in comparison.frames if (value := getattr(frame, name)) is not None)
            numbers = [comparison.mean(name), values[len(values) // 20], values[0]] if values else [None] * 3
            cells.append("  " + " ".join(f"{'-' if x is None else f'{x:.{digits}f}':>9s}" for x in numbers))
        if any(word != "-" for cell in cells for word in cell.split()):
            lines.append(f"{label:14s}{''.join(cells)}")
    if len(first.frames) > 1:
        worst = first.worst(first.first_measure)[:_SHOWN_WORST]
        what = "pictures" if worst[0].name else "frames"
        where = ": " if worst[0].name else ", at seconds: "
        lines.append(f"worst {what} of {Path(first.result).name}{where}{', '.join(f.name or f'{f.time_s:.2f}' for f in worst)}")
    return "\n".join([*lines, *dict.fromkeys(note for comparison in comparisons for note in remarks(comparison))])


def table(comparison: Comparison) -> str:
    """The frames (unless there is but one) and the means, then notes and frames without a partner."""
    from ..compare.html_report import measured_words

    lines = [f"{'time':>12s}" + "".join(f"  {label:>8s}" for _, label, _ in _COLUMNS)]

    def add(label: str, numbers: list[float | None]) -> None:
        cells = ["-" if x is None else f"{x:.{digits}f}" for x, (_, _, digits) in zip(numbers, _COLUMNS, strict=True)]
        widths = (max(8, len(name)) for _, name, _ in _COLUMNS)
        lines.append(f"{label:>12s}" + "".join(f"  {cell:>{width}s}" for cell, width in zip(cells, widths, strict=True)))

    if len(comparison.frames) > 1:
        for frame in comparison.frames:
            add(frame.name or f"{frame.time_s:.3f} s", [getattr(frame, name) for name, _, _ in _COLUMNS])
    add("mean", [comparison.mean(name) for name, _, _ in _COLUMNS])
    return "\n".join([*lines, "", measured_words(comparison), *remarks(comparison)])


def remarks(comparison: Comparison) -> list[str]:
    """What could not be measured, and frames without a partner."""
    lines = list(comparison.notes)
    for times, name in ((comparison.unpaired_result, comparison.result), (comparison.unpaired_original, comparison.original)):
        if times:
            shown = ", ".join(f"{time:.3f}" for time in times[:_SHOWN_TIMES]) + (", ..." if len(times) > _SHOWN_TIMES else "")
            lines.append(f"{len(times)} frames of {name} have no partner, at seconds: {shown}")
    return lines
