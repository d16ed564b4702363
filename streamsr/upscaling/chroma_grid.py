"""Chroma between its own samples and the grid on which a network of luma and chroma takes and gives it.

Note [Chroma grid]
    A network reads chroma where it has to write it: one sample of Cb and Cr for each luma sample of the input. At x2 the chroma of a
    4:2:0 result has just as many, so the grid is at their positions: for chroma sited left, a quarter of an input pixel left of the
    luma samples; for chroma between luma samples, on them. So the network's chroma is the result's, and nothing is resampled twice. Along
    an axis without subsampling, and at other scales, the grid is that of the input's luma, and an exact resample (Lanczos) brings the
    network's chroma to the result. Chroma comes to the grid by the filter that the network was trained on (`chroma_filter` of its
    description): Lanczos keeps detail, linear interpolation smooths noise, which the smallest networks cannot do beside all else.
"""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

import av
import numpy as np
from streamsr_kernels import Filter
from streamsr_kernels.chroma_sites import FIRST_CHROMA_SAMPLE

from streamsr.frame import Frame, Layout
from streamsr.resample import FLAGS, ChainPool, FilterChain, GraphKey
from streamsr.upscaling.scale_plan import repeat_edges

FILTERS: dict[Filter, str] = {"lanczos": FLAGS, "linear": FLAGS.replace("lanczos", "bilinear")}  # as swscale's flags
MAX_PADDING = 3  # samples added for a ratio of whole numbers


class Axis(NamedTuple):
    """Sample positions along an axis, in luma pixels: the first one, and the step from one to the next."""

    first: float
    step: float

    def enlarged(self, factor: float) -> Axis:
        """The same places in pixels of a picture `factor` times as large: pixel centres stay in their places."""
        return Axis((self.first + 0.5) * factor - 0.5, self.step * factor)


Grid = tuple[Axis, Axis]  # vertical, horizontal


def grid_of(layout: Layout, location: str) -> Grid:
    """The chroma grid of a frame. location: one of CHROMA_LOCATIONS; anything else counts as "left"."""
    horizontal, vertical = FIRST_CHROMA_SAMPLE.get(location, FIRST_CHROMA_SAMPLE["left"])

    def axis(position: float, log2: int) -> Axis:
        return Axis(position * ((1 << log2) - 1), 1 << log2)

    return axis(vertical, layout.log2_chroma[1]), axis(horizontal, layout.log2_chroma[0])


def network_grid(chroma: Grid, scale: int) -> Grid:
    """The network's grid for chroma on this grid: Note [Chroma grid]."""

    def axis(own: Axis) -> Axis:
        return Axis((own.first + 0.5) / 2 - 0.5, 1) if scale == 2 and own.step == 2 else Axis(0, 1)

    return axis(chroma[0]), axis(chroma[1])


class ChromaResampler:
    """Brings pairs of chroma planes from one grid to another. Safe to call from many threads."""

    def __init__(self, kernel: Filter = "lanczos") -> None:
        self._flags = FILTERS[kernel]
        self._pools: dict[tuple[object, ...], ChainPool] = {}
        self._lock = threading.Lock()

    def __call__(self, planes: np.ndarray, source: Grid, target: Grid, size: tuple[int, int], *, bits: int) -> np.ndarray:
        """(2, h, w) uint8 or uint16 of `bits` bits on grid `source` -> (2, *size) on grid `target`, both of the same picture."""
        if planes.shape[1:] == size and source == target:
            return planes
        options: dict[str, str] = {}
        whole, padding = [], []
        for axis, name in ((0, "v"), (1, "h")):
            shift, count, added = place_on(source[axis], target[axis], planes.shape[1 + axis], size[axis])
            options |= {f"in_{name}_chr_pos": "0", f"out_{name}_chr_pos": str(shift)} if shift else {}
            whole.append(count)
            padding.append(added)
        height, width = planes.shape[1] + padding[0], planes.shape[2] + padding[1]
        planes = repeat_edges(planes, (height, width))
        frame = av.VideoFrame(width, height, "yuv444p" if bits == 8 else f"yuv444p{bits}le")
        for plane, samples in zip(Frame(frame).planes[1:], planes, strict=True):
            plane[:] = samples
        options = {"w": str(whole[1]), "h": str(whole[0]), "flags": self._flags, **options}
        made = Frame(self._pool(options)(frame)).planes
        return np.stack([plane[: size[0], : size[1]] for plane in made[1:]])

    def _pool(self, options: dict[str, str]) -> ChainPool:
        key = tuple(options.items())
        with self._lock:
            if key not in self._pools:

                def build(frame_key: GraphKey, _: av.VideoFrame) -> FilterChain:
                    return FilterChain(frame_key, [("scale", options)])

                self._pools[key] = ChainPool(build)
            return self._pools[key]


def place_on(own: Axis, wanted: Axis, length: int, size: int) -> tuple[int, int, int]:
    """(shift, result samples, source samples to add) that bring `length` samples on `own` to the first `size` of those on `wanted`.

    Sample j of the result is at (j + (shift + 128) / 256) * source samples / result samples - 1/2 of the source's, as swscale has it.
    """
    whole, count, added = _fitting(length, size, own.step / wanted.step)
    return round(256 * ((wanted.first - own.first) / own.step + 0.5) * count / whole - 128), count, added


def _fitting(length: int, wanted: int, ratio: float) -> tuple[int, int, int]:
    """(source samples, result samples, source samples to add) whose numbers have just this ratio, at least `wanted` of the result."""
    for added in range(MAX_PADDING + 1):
        count = (length + added) * ratio
        if abs(count - round(count)) < 1e-9 and round(count) >= wanted:
            return length + added, round(count), added
    return length, max(wanted, math.ceil(length * ratio)) if abs(length * ratio - wanted) > 1 else wanted, 0
