"""Comparison: the frames of a result beside those of its original, measured one pair at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import av

from ..errors import SourceError, UsageError
from ..io.moments import origin_of
from ..io.source import Source, open_source
from ..options import SourceOptions
from .alignment import Pair, Unpaired, pair_frames, pairs_at
from .comparable_planes import ComparablePlanes, to_pictures
from .measures import psnr, ssim
from .pban import PbanScorer
from .sampling import VMAF_S_PER_PIXEL, choose_sample
from .vmaf import INSTALL, Vmaf, find_ffmpeg

MEASURES = ("efficient_pban", "psnr", "ssim", "vmaf", "vmaf_neg")  # the columns; all of them: higher is better
MIN_SSIM_SIDE = 11
_HEAD = 3  # pairs that are read to learn what reading takes


@dataclass(slots=True)
class FrameScores:
    """One pair of frames. A measure that could not be taken is None (Comparison.notes says why)."""

    time_s: float
    efficient_pban: float | None = None  # 0 .. 1
    psnr: float | None = None  # dB, of luma
    ssim: float | None = None  # of luma, at most 1
    vmaf: float | None = None  # 0 .. 100
    vmaf_neg: float | None = None  # the same without a reward for enhancement
    name: str = ""  # of a picture in a folder

    def place(self) -> dict[str, Any]:
        """Which pair it is, for JSON."""
        return {"picture": self.name} if self.name else {"time_s": self.time_s}


@dataclass
class Comparison:
    """What was measured, and what could not be."""

    result: str
    original: str
    width: int
    height: int
    every: int  # each N-th pair was measured
    times: tuple[Fraction, ...] = ()  # seconds at which pairs were looked up; then no others were read
    num_pairs: int = 0  # frames with a partner
    frames: list[FrameScores] = field(default_factory=list)
    unpaired_result: list[float] = field(default_factory=list)  # times in seconds of frames that the original lacks
    unpaired_original: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def mean(self, measure: str) -> float | None:
        """Mean over the measured frames; None where the measure was not taken."""
        values = [value for frame in self.frames if (value := getattr(frame, measure)) is not None]
        return fmean(values) if values else None

    def worst(self, measure: str) -> list[FrameScores]:
        """The measured frames, the lowest first; [] where the measure was not taken."""
        return sorted((f for f in self.frames if getattr(f, measure) is not None), key=lambda f: float(getattr(f, measure)))

    @property
    def first_measure(self) -> str:
        """What decides which frames are the worst: the metric trained on human votes, or else the next available measure."""
        return next((name for name in (MEASURES[0], "ssim", "psnr") if self.mean(name) is not None), "psnr")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "result": self.result, "original": self.original, "width": self.width, "height": self.height,
            "every": self.every, "looked_up": bool(self.times),
            "num_pairs": self.num_pairs, "num_measured": len(self.frames), "mean": {name: self.mean(name) for name in MEASURES},
            "unpaired": {"result": self.unpaired_result, "original": self.unpaired_original}, "notes": self.notes,
            "frames": [frame.place() | {name: getattr(frame, name) for name in MEASURES} for frame in self.frames],
        }  # fmt: skip


def compare(
    result: str | Path,
    original: str | Path,
    *,
    every: int | None = 1,
    times: Sequence[Fraction] = (),
    within_s: float = 50.0,
    engine: str | PbanScorer = "auto",
    threads: int = 0,
    on_frame: Callable[[FrameScores, int | None], None] | None = None,
) -> Comparison:
    """Measure a video or picture against its original, both decoded as they are and paired by presentation time.

    every: measure each N-th pair only; None: as few as `within_s` requires (Note [Sampling]).
    times: measure the pairs at these seconds alone. engine: of the metric, "auto", "openvino", "onnxruntime", a GPU such as "cuda:0",
    or a PbanScorer that serves several calls.
    on_frame: called after each pair with the number that is to be measured, if it is known; VMAF is known only at the end. Memory does not
    grow with the length but for the numbers themselves.
    Raises UsageError when the sizes differ, SourceError when one cannot be read or no two frames share a time.
    """
    if every is not None and every < 1:
        raise UsageError(f"every is {every}; it must be 1 or more.")
    options = SourceOptions(deinterlace="off", threads=threads)
    with ExitStack() as stack:
        one, other = (stack.enter_context(open_source(path, options)) for path in (result, original))
        comparison = Comparison(str(result), str(original), other.tags.width, other.tags.height, every or 1)
        _check_sizes(comparison, (one.tags.width, one.tags.height), (other.tags.width, other.tags.height), None)
        unpaired = Unpaired()
        judge = engine if isinstance(engine, PbanScorer) else open_scorer(engine, threads)
        if min(comparison.width, comparison.height) >= judge.min_side:
            judge.open()  # now, so that nobody takes its time for that of a picture
        comparison.notes = _unavailable(comparison, judge)
        wanted = find_ffmpeg() is not None
        vmaf = stack.enter_context(Vmaf(comparison.width, comparison.height, threads=threads or 1)) if wanted else None
        pairs: Iterator[Pair] = pair_frames(one, other, unpaired)
        if times:
            comparison.times = tuple(times)
        elif every is None:
            pairs = _choose_sample(comparison, pairs, one, other, judge, within_s=within_s, vmaf=wanted)
        num_expected = len(comparison.times) or None
        if comparison.times:
            pairs = pairs_at(one, other, comparison.times, options, unpaired)
        elif other.expected_frames is not None:
            num_expected = -(-other.expected_frames // comparison.every)
        for time, frame, partner in pairs:
            comparison.num_pairs += 1
            if (comparison.num_pairs - 1) % comparison.every:
                continue
            scores = _measure(comparison, time, frame, partner, judge, vmaf)
            comparison.frames.append(scores)
            if on_frame is not None:
                on_frame(scores, num_expected)
        comparison.unpaired_result, comparison.unpaired_original = unpaired.result, unpaired.original
        if not comparison.frames:
            raise SourceError(
                f"No frame of {result} has the time of a frame of {original}: {len(unpaired.result)} and {len(unpaired.original)} frames.",
                hint="compare files with the same clock; `streamsr verify` shows how their times differ",
            )
        if vmaf is not None:
            for scores, found in zip(comparison.frames, vmaf.finish(), strict=True):
                scores.vmaf, scores.vmaf_neg = found["vmaf"], found["vmaf_neg"]
    return comparison


def open_scorer(engine: str, threads: int) -> PbanScorer:
    """The metric in this engine, see `compare`."""
    return PbanScorer(device=engine) if engine.startswith("cuda") else PbanScorer(engine=engine, threads=threads)


def _choose_sample(
    comparison: Comparison, pairs: Iterator[Pair], result: Source, original: Source, judge: PbanScorer, *, within_s: float, vmaf: bool
) -> Iterator[Pair]:
    """Settle how many pairs are measured, by the clock; gives all pairs back, those that it took included. Note [Sampling]."""
    head = list(itertools.islice(pairs, 1))
    if not head:
        return iter(head)
    seconds = []
    for _ in range(2):  # the first starts the engine
        at = perf_counter()
        _measure(comparison, *head[0], judge, None)
        seconds.append(perf_counter() - at)
    at = perf_counter()
    head += itertools.islice(pairs, _HEAD)
    read_s = (perf_counter() - at) / max(1, len(head) - 1)
    measure_s = min(seconds) + (comparison.width * comparison.height * VMAF_S_PER_PIXEL if vmaf else 0.0)
    sample = choose_sample(
        num_frames=original.expected_frames, measure_s=measure_s, read_s=read_s, within_s=within_s - sum(seconds),
        begin=origin_of(original), duration_s=original.duration_s,
    )  # fmt: skip
    comparison.every, comparison.times = sample.every, sample.times
    return itertools.chain(head, pairs)


def _measure(
    comparison: Comparison, time: Fraction, frame: av.VideoFrame, partner: av.VideoFrame, judge: PbanScorer, vmaf: Vmaf | None
) -> FrameScores:
    _check_sizes(comparison, (frame.width, frame.height), (partner.width, partner.height), float(time))
    try:
        mine, theirs = to_pictures(frame, partner)
    except ValueError as error:
        raise SourceError(f"Cannot compare at {float(time):.3f} s: {error}") from error
    scores = FrameScores(float(time))
    if vmaf is not None:
        vmaf.add(_rounded(mine), _rounded(theirs))
    scores.psnr = psnr(mine.luma, theirs.luma)
    if min(mine.luma.shape) >= MIN_SSIM_SIDE:
        scores.ssim = ssim(mine.luma, theirs.luma)
    if min(mine.luma.shape) >= judge.min_side:
        scores.efficient_pban = judge(mine.rgb, theirs.rgb)
    return scores


def _rounded(picture: ComparablePlanes) -> Any:
    return (picture.luma + 0.5).clip(0, 255).astype("uint8")


def _check_sizes(comparison: Comparison, result: tuple[int, int], original: tuple[int, int], time_s: float | None) -> None:
    if result == original == (comparison.width, comparison.height):
        return
    where = "" if time_s is None else f" at {time_s:.3f} s"
    sizes = [f"{width}x{height}" for width, height in (result, original)]
    if sizes[0] == sizes[1]:
        before = f"{comparison.width}x{comparison.height}"
        raise UsageError(f"Both change size{where}, to {sizes[0]} from {before}; only one size can be compared.")
    raise UsageError(
        f"{comparison.result} is {sizes[0]}{where}, {comparison.original} is {sizes[1]}: only equal sizes can be compared.",
        hint=f"bring one to the other's size first: streamsr run IN OUT --size {sizes[1]}",
    )


def _unavailable(comparison: Comparison, judge: PbanScorer) -> list[str]:
    notes = []
    side = min(comparison.width, comparison.height)
    if side < judge.min_side:
        notes.append(f"Efficient-PBAN needs {judge.min_side} pixels a side; these frames have {side}.")
    if side < MIN_SSIM_SIDE:
        notes.append(f"SSIM needs {MIN_SSIM_SIDE} pixels a side; these frames have {side}.")
    if find_ffmpeg() is None:
        notes.append(f"VMAF was not measured: {INSTALL}.")
    return notes
