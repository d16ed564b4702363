"""The report of a comparison: one HTML file with pictures, scores over time and a table, which opens from the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import SinkError, UsageError
from ..io.moments import origin_of, read_at
from ..io.pictures import data_url, encode_webp
from ..io.source import open_source
from ..options import SourceOptions
from ..output_file import atomic_output
from ..pages import read_page, with_data
from .comparison import MEASURES, Comparison, FrameScores
from .score_plot import LABELS

WORST, EVEN = 4, 4  # moments that are shown: the worst frames, and some at even distances
_THUMB_WIDTH = 160


def check_report(file: Path) -> None:
    """Whether `save_report` will work, before a minute of measuring. Raises UsageError."""
    if file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--html {file}: the name must end in .html.")
    if not file.parent.is_dir():
        raise UsageError(f"--html {file}: the folder {file.parent} does not exist.")


def save_report(comparisons: Sequence[Comparison], file: Path) -> None:
    """Results of one original each, measured at the same times. Raises SinkError when the file cannot be written."""
    check_report(file)
    original = comparisons[0].original
    paths = [comparison.result for comparison in comparisons] + [original]
    labels = _labels(paths)
    data = {
        "width": comparisons[0].width, "height": comparisons[0].height, "videos": labels, "measures": [[m, LABELS[m]] for m in MEASURES],
        "first": comparisons[0].first_measure, "results": [_scores(comparison) for comparison in comparisons],
        "moments": _moments(comparisons, paths), "notes": sorted({note for c in comparisons for note in c.notes}),
        "measured": measured_words(comparisons[0]),
    }  # fmt: skip
    page = with_data(read_page("streamsr.compare", "html_report.html"), f"{labels[0]} against {labels[-1]}", data)
    try:
        with atomic_output(file) as draft:
            draft.write_text(page, encoding="utf-8")
    except OSError as error:
        raise SinkError(f"Cannot write the report {file}: {error.strerror}.") from error


def measured_words(comparison: Comparison) -> str:
    """How many of the pairs were measured, and which."""
    size, count = f"{comparison.width}x{comparison.height}", len(comparison.frames)
    if comparison.frames[0].name:
        return f"{count} of {comparison.num_pairs} pairs of pictures measured"
    if comparison.times:
        return f"{size}, {count} pairs of frames measured, looked up at even distances"
    every = f" (each {ordinal(comparison.every)})" if comparison.every > 1 else ""
    return f"{size}, {count} of {comparison.num_pairs} pairs of frames measured{every}"


def ordinal(number: int) -> str:
    """2 -> 2nd."""
    last = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"


def _labels(paths: Sequence[str]) -> list[str]:
    """File names, or as much of the paths as tells them apart."""
    for parts in range(1, 8):
        names = ["/".join(Path(path).parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def _scores(comparison: Comparison) -> dict[str, Any]:
    return {
        "times": [round(frame.time_s, 4) for frame in comparison.frames],
        "scores": {name: [_rounded(getattr(frame, name)) for frame in comparison.frames] for name in MEASURES},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


@dataclass(frozen=True, slots=True)
class _Moment:
    time_s: float
    why: str


def choose_moments(comparison: Comparison) -> list[_Moment]:
    """The worst frames first, not two of one half second, then frames at even distances."""
    chosen: list[_Moment] = []

    def is_new(frame: FrameScores, distance_s: float) -> bool:
        return all(abs(frame.time_s - moment.time_s) > distance_s for moment in chosen)

    for number, frame in enumerate(comparison.worst(comparison.first_measure)):
        if len(chosen) < min(WORST, max(1, len(comparison.frames) // 2)) and is_new(frame, 0.5 if number else 0):
            chosen.append(_Moment(frame.time_s, f"{ordinal(len(chosen) + 1)} worst" if chosen else "worst"))
    frames = comparison.frames
    for i in range(EVEN):
        frame = frames[len(frames) * (2 * i + 1) // (2 * EVEN)]
        if is_new(frame, 0):
            chosen.append(_Moment(frame.time_s, ""))
    return chosen


def _moments(comparisons: Sequence[Comparison], paths: Sequence[str]) -> list[dict[str, Any]]:
    """What is shown of each moment: its pictures as WebP, and a small one for the list."""
    moments = choose_moments(comparisons[0])
    shown: list[dict[str, Any]] = [{"time": round(moment.time_s, 4), "why": moment.why, "pictures": []} for moment in moments]
    options = SourceOptions(deinterlace="off")
    for path in paths:
        with open_source(path, options) as source:
            origin, rate = origin_of(source), source.rate
        for entry in shown:
            found = read_at(path, entry["time"], origin=origin, rate=rate, options=options)
            frame = min(found, key=lambda pair: abs(pair[0] - Fraction(entry["time"])))[1]
            entry["pictures"].append(data_url(encode_webp(frame), "image/webp"))
            if path == paths[-1]:
                entry["thumb"] = data_url(encode_webp(frame, width=_THUMB_WIDTH, quality=70), "image/webp")
    return shown
