"""What resample.cu computes, in NumPy."""

from __future__ import annotations

import numpy as np

from .filters import Taps


def resample(samples: np.ndarray, across: Taps, down: Taps, *, bits: int) -> np.ndarray:
    """Codes (h, w) -> codes (len(down.first), len(across.first)), through sums of 15 bits (19 where codes have 16)."""
    sum_bits = 15 if bits <= 14 else 19
    rows = _weigh(samples.astype(np.int64).T, across) >> (bits + 14 - sum_bits)
    rows = np.minimum(rows, (1 << sum_bits) - 1).T
    shift = sum_bits + 12 - bits
    codes = (_weigh(rows, down) + (1 << (shift - 1))) >> shift
    return np.clip(codes, 0, (1 << bits) - 1).astype(samples.dtype)


def _weigh(lines: np.ndarray, taps: Taps) -> np.ndarray:
    """Along the first axis."""
    picked = lines[taps.first[:, None] + np.arange(taps.num_taps)]
    return np.einsum("ot,ot...->o...", taps.weights.astype(np.int64), picked)
