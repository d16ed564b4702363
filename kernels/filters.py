"""Which samples weigh how much when a line of samples is brought to another length, as FFmpeg's swscale has it.

Note [Agreement with swscale]
    A picture that is resampled on the GPU shall look like one from the CPU, whose carrier swscale makes (streamsr/resample.py).
    With 8 bits any Lanczos comes within a code; with 16 only the same integers do. So the step between positions is rounded to
    1/65536 sample, outer taps are left out while they sum to no more than 0.002, samples outside the picture count as its
    edge, and weights are integers that sum to 2^14 across and 2^12 down, the rest of each rounding going to the next tap. That is
    swscale with `bitexact`; the tests compare with PyAV's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

Filter = Literal["lanczos", "linear"]
NUM_TAPS = {"lanczos": 6, "linear": 2}  # at the scale of the coarser side
CUTOFF = 0.002
ONE_ACROSS, ONE_DOWN = 1 << 14, 1 << 12


@dataclass(frozen=True, slots=True)
class Taps:
    """first: int32 (length,), the first sample that weighs. weights: int16 (length, taps); each row sums to 2^14 or 2^12."""

    first: np.ndarray
    weights: np.ndarray

    @property
    def num_taps(self) -> int:
        return self.weights.shape[1]

    def reach(self, count: int) -> int:
        """The most samples that `count` neighbouring results, counted from a multiple of it, are made of."""
        starts = np.arange(0, len(self.first), count)
        ends = np.minimum(starts + count, len(self.first)) - 1
        return int((self.first[ends] - self.first[starts]).max()) + self.num_taps


@lru_cache(maxsize=64)
def make_taps(
    source: int, target: int, length: int, one: int, name: Filter = "lanczos", site: tuple[float, float] = (0.5, 0.5), added: int = 0
) -> Taps:  # fmt: skip
    """The first `length` results of bringing `source` samples, and `added` more that are like the last one, to `target`.

    site: sample position in its cell, before and after: 0.5 in its middle; "left" chroma of 4:2:0 is at 0.25 (`chroma_site`).
    """
    site_in, site_out = (round(256 * part) for part in site)
    available, source = source, source + added
    step = ((source << 16) + target // 2) // target  # in 1/65536 sample
    if abs(step - 65536) < 10 and site_in == site_out and length <= available:
        return Taps(np.arange(length, dtype=np.int32), np.full((length, 1), one, np.int16))
    width = 1 + (NUM_TAPS[name] if step <= 65536 else -(-NUM_TAPS[name] * source // target))
    width = max(min(width, source - 2), 1)
    centre = ((site_out * step) >> 7) - (site_in << 9) + 2 * step * np.arange(target, dtype=np.int64)  # in 2^-17 sample
    first = np.trunc((centre - (width - 2) * 65536) / 131072).astype(np.int64)  # towards 0
    positions = first[:, None] + np.arange(width)
    distance = np.abs(positions - centre[:, None] / 131072) * (target / source if step > 65536 else 1.0)
    first, weights = _trimmed(first, _KERNELS[name](distance))
    first, weights = _inside(first, weights, available)
    return Taps(first[:length].astype(np.int32), _quantised(weights[:length], one).astype(np.int16))


def _lanczos(distance: np.ndarray) -> np.ndarray:
    return np.where(distance > 3, 0.0, np.sinc(distance) * np.sinc(distance / 3))


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - distance, 0.0)


_KERNELS = {"linear": _linear, "lanczos": _lanczos}


def _trimmed(first: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without the outer taps that hardly weigh; windows still advance from result to result."""
    small = np.cumsum(np.abs(weights), 1) <= CUTOFF
    start = np.minimum.accumulate((first + small.sum(1))[::-1])[::-1]
    num_taps = weights.shape[1]
    picked = np.arange(num_taps) + (start - first)[:, None]
    weights = np.where(picked < num_taps, np.take_along_axis(weights, np.minimum(picked, num_taps - 1), 1), 0.0)
    small = np.cumsum(np.abs(weights[:, ::-1]), 1)[:, : num_taps - 1] <= CUTOFF
    return start, weights[:, : num_taps - int(small.sum(1).min(initial=num_taps))]


def _inside(first: np.ndarray, weights: np.ndarray, source: int) -> tuple[np.ndarray, np.ndarray]:
    """What would weigh outside the line weighs on its edge."""
    num_taps = weights.shape[1]
    start = np.clip(first, 0, max(source - num_taps, 0))
    samples = np.clip(first[:, None] + np.arange(num_taps), 0, source - 1)
    folded = np.zeros_like(weights)
    np.add.at(folded, (np.arange(len(first))[:, None], samples - start[:, None]), weights)
    return start, folded


def _quantised(weights: np.ndarray, one: int) -> np.ndarray:
    """Integers that sum to `one` a row: what rounding a tap leaves over goes to the next."""
    wanted = weights * (one / weights.sum(1, keepdims=True))
    result = np.empty(weights.shape, np.int64)
    rest = np.zeros(len(weights))
    for tap in range(weights.shape[1]):
        value = wanted[:, tap] + rest
        result[:, tap] = np.trunc(value + np.copysign(0.5, value))
        rest = value - result[:, tap]
    return result
