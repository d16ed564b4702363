"""Sampling: how many pairs of frames can be measured in the time that there is.

Note [Sampling]
    The first pair is measured once to start everything and once by the clock; a few more are read by the clock. Where reading the whole
    video takes less than half of the time, each N-th pair is measured; where it does not, pairs at even distances are looked up, and
    frames between them are not read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

VMAF_S_PER_PIXEL = 6e-8  # both models, on one core of two (Zen 4) that others use too
_LOOKUP_FRAMES = 125  # decoded for one looked up: half of x264's longest distance of key frames
_OPEN_S = 0.1  # what opening and probing a file takes
_FEWEST = 5  # looked-up pairs


@dataclass(frozen=True, slots=True)
class Sample:
    """Which pairs are measured: each `every`-th, or where `times` are given those alone."""

    every: int = 1
    times: tuple[Fraction, ...] = ()


def choose_sample(
    *, num_frames: int | None, measure_s: float, read_s: float, within_s: float, begin: Fraction, duration_s: float | None
) -> Sample:
    """The sample that takes about `within_s`; all, where nothing tells `num_frames`. measure_s, read_s: of one pair."""
    if num_frames is None:
        return Sample()
    if num_frames * (measure_s + read_s) <= within_s:
        return Sample()
    if num_frames * read_s <= within_s / 2 or duration_s is None:
        left_s = max(within_s - num_frames * read_s, measure_s)
        return Sample(every=max(1, math.ceil(num_frames * measure_s / left_s)))
    count = max(_FEWEST, int(within_s / (measure_s + 2 * _OPEN_S + _LOOKUP_FRAMES * read_s)))
    step = Fraction(duration_s).limit_denominator(1000) / count
    return Sample(times=tuple(begin + step * (2 * i + 1) / 2 for i in range(count)))
