"""Condition: how soft and how damaged a source is, an input of networks of luma and chroma.

A network cannot know whether a picture is blurred or meant to be soft. Its input `Condition` gives the assumed blur and damage. By default
both are estimated from the source's luma: statistics of differences between neighbours, in blocks with much and with little structure,
go through a small network that was fitted on sources of known blur and damage (trainer/condition_fit.py).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).parent.parent / "weights" / "condition.npz"
MAX_BLUR = 2.0  # pixels of the result at x2: standard deviation of the blur that 1 stands for
BLOCK = 16  # pixels a side
GROUPS = ((0.0, 0.1), (0.1, 0.35), (0.35, 0.7), (0.7, 1.0))  # of blocks, sorted by structure, most first
SHARPNESS, QUIETNESS = (0.1, 0.5, 0.9, 0.98), (0.02, 0.1, 0.3)  # quantiles over blocks
MAX_BLOCKS = 4096  # of a frame: more make no difference
EDGE_REACH = 4  # pixels from the middle of an edge to its two ends
STEPS = (20.0, 45.0)  # codes between the ends of an edge, at least: noise hardly bends those
EDGE_QUANTILES = (0.5, 0.75, 0.9)  # over edges: the sharpest tell of the lens, the others of the focus


@dataclass(frozen=True)
class Condition:
    """A network's input about its source.

    blur: assumed standard deviation of the blur, 0 to 1 for 0 to MAX_BLUR pixels of a result at x2.
    damage: log2(1 + d) / 4 for a root mean square d, in 8-bit codes, of what noise and compression changed; 0 to 1.
    """

    blur: float
    damage: float


def measure(luma: NDArray, *, bits: int = 8) -> NDArray:
    """Statistics of one luma plane (h, w): see the module. Raises ValueError for a plane smaller than 3 blocks a side."""
    height, width = (side // BLOCK * BLOCK for side in luma.shape)
    if min(height, width) < 3 * BLOCK:
        raise ValueError(f"The plane is {luma.shape[1]}x{luma.shape[0]}; {3 * BLOCK} pixels a side are needed.")
    step = max(1, round((height * width / BLOCK**2 / MAX_BLOCKS) ** 0.5))
    y = luma[:height, :width]
    if step > 1:  # every step-th block along both axes, whole
        rows = (np.arange(0, height // BLOCK, step)[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        columns = (np.arange(0, width // BLOCK, step)[:, None] * BLOCK + np.arange(BLOCK)).ravel()
        y = y[rows][:, columns]
    blocks = y.reshape(y.shape[0] // BLOCK, BLOCK, y.shape[1] // BLOCK, BLOCK).transpose(0, 2, 1, 3).reshape(-1, BLOCK, BLOCK)
    b = blocks.astype(np.float32) / (1 << (bits - 8))

    def energy(d: NDArray) -> NDArray:
        return np.einsum("nij,nij->n", d, d) / (d.shape[1] * d.shape[2])

    rows1, columns1 = b[:, 1:] - b[:, :-1], b[:, :, 1:] - b[:, :, :-1]
    lag1 = energy(rows1) + energy(columns1)
    lag2 = energy(b[:, 2:] - b[:, :-2]) + energy(b[:, :, 2:] - b[:, :, :-2])
    lag4 = energy(b[:, 4:] - b[:, :-4]) + energy(b[:, :, 4:] - b[:, :, :-4])
    second = energy(rows1[:, 1:] - rows1[:, :-1]) + energy(columns1[:, :, 1:] - columns1[:, :, :-1])
    cross = rows1[:, :, 1:] - rows1[:, :, :-1]
    third = energy(cross[:, 1:, 1:] - cross[:, 1:, :-1] - cross[:, :-1, 1:] + cross[:, :-1, :-1])
    border, middle = ((columns1[:, :, at] ** 2).mean(1) + (rows1[:, at] ** 2).mean(1) for at in (7, 3))  # of the 8x8 blocks of codecs
    statistics = [lag1, lag2, lag4, second, energy(cross), third, border]
    order = np.argsort(-lag4)
    found = []
    for first, last in GROUPS:
        chosen = order[int(first * len(order)) : max(int(last * len(order)), int(first * len(order)) + 1)]
        found += [np.log2(float(value[chosen].mean()) + 0.05) for value in statistics]
    # how sharp the sharpest places are, and how quiet the quietest: an out-of-focus background says nothing of the lens
    with_structure = order[: max(len(order) // 2, 1)]
    for one, other in ((lag1, lag4), (lag1, lag2), (second, lag1), (third, second)):
        share = np.log2((one[with_structure] + 0.05) / (other[with_structure] + 0.05))
        found += [float(value) for value in np.quantile(share, SHARPNESS)]
    for one in (lag1, second, third):
        found += [float(value) for value in np.log2(np.quantile(one, QUIETNESS) + 0.02)]
    found.append(float(np.log2((border[with_structure].mean() + 0.05) / (middle[with_structure].mean() + 0.05))))
    return np.array(found + _edges(b), np.float32)


def _edges(blocks: NDArray) -> list[float]:
    """How steep strong edges are: noise hides blur in the statistics of differences, but not on edges far above it.

    blocks: (n, BLOCK, BLOCK). Quantiles of the share of an edge's step between two neighbours, and between the two of a pixel.
    """
    steps, steepest, wide = [], [], []
    for rows in (blocks.reshape(-1, BLOCK), blocks.transpose(0, 2, 1).reshape(-1, BLOCK)):
        first, second = np.abs(rows[:, 1:] - rows[:, :-1]), np.abs(rows[:, 2:] - rows[:, :-2])
        at = EDGE_REACH + 1 + np.argmax(second[:, EDGE_REACH:-EDGE_REACH], axis=1)  # the middle of the steepest place
        line = np.arange(len(rows))
        ends = [(rows[line, at + sign * EDGE_REACH] + rows[line, at + sign * (EDGE_REACH - 1)]) / 2 for sign in (-1, 1)]
        steps.append(np.abs(ends[1] - ends[0]))
        steepest.append(np.maximum(first[line, at - 1], first[line, at]))
        wide.append(second[line, at - 1])
    step = np.concatenate(steps)
    found = []
    for least in STEPS:
        strong = step > least
        found.append(float(np.log2(strong.mean() + 1e-4)))
        for height in (steepest, wide):
            share = np.minimum(np.concatenate(height)[strong] / step[strong], 2.0) if strong.any() else np.zeros(1)
            found += [float(value) for value in np.quantile(share, EDGE_QUANTILES)]
    return found


@functools.cache
def _weights(file: Path) -> list[NDArray]:
    with np.load(file) as arrays:
        return [arrays[name] for name in ("mean", "scale", "w0", "b0", "w1", "b1")]


def estimate(lumas: Sequence[NDArray], *, bits: int = 8, weights: Path = WEIGHTS) -> Condition:
    """The condition that a source's frames are most likely in: the median over some of its luma planes, all (h, w).

    weights: of the fitted network. Planes that are too small to estimate count as a clean source.
    """
    mean, scale, w0, b0, w1, b1 = _weights(weights)
    told = []
    for luma in lumas:
        if min(luma.shape) < 3 * BLOCK:
            continue
        x = (measure(luma, bits=bits) - mean) * scale
        told.append(np.clip(np.maximum(x @ w0 + b0, 0) @ w1 + b1, 0, 1))
    if not told:
        return Condition(0.0, 0.0)
    blur, damage = np.median(told, axis=0)
    return Condition(float(blur), float(damage))
