"""Planes of a 4:2:0 picture in training: RGB to BT.709 studio codes, and chroma between its own grid and the luma grid.

Note [Chroma grid]
    A network reads chroma where it has to write it. At x2 the chroma of a 4:2:0 result has as many samples as the input has luma, so
    chroma is brought to places on the input's luma grid, moved by `offset`: sample k lies at luma column k + offset. For chroma sited
    left, offset is -1/4: column 2k of the result is column k - 1/4 of the input. For chroma sited in the middle it is 0. Lanczos or
    linear interpolation brings the input's samples there, and the network does the rest. By PSNR Lanczos is ahead by 0.4 dB in damaged
    scenes at x2 and by 1.4 dB in clean ones, but linear interpolation takes more than half of the noise out, which `lite` cannot.

Axes: H rows, W columns; a leading axis of 3 is luma, Cb, Cr and one of 2 is Cb, Cr.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from streamsr_kernels import Filter

Plane = NDArray[np.uint8]
Site = tuple[float, float]  # (vertical, horizontal) place of the first chroma sample, in luma pixels: 0 on the first one, 0.5 behind it
LEFT: Site = (0.5, 0.0)
CENTRE: Site = (0.5, 0.5)
TOP_LEFT: Site = (0.0, 0.0)
REACH = 3  # samples on each side, of Lanczos
SITES: tuple[Site, ...] = (LEFT, CENTRE, TOP_LEFT)

# ITU-R BT.709-6 item 3: rows Y', Cb, Cr of R'G'B'; studio codes are 16 + 219 Y' and 128 + 224 C (ITU-R BT.709-6 item 5)
_MATRIX = np.array([[0.2126, 0.7152, 0.0722], [-0.2126 / 1.8556, -0.7152 / 1.8556, 0.5], [0.5, -0.7152 / 1.5748, -0.0722 / 1.5748]])
RGB_OF_YUV = np.linalg.inv(_MATRIX)  # R'G'B' of Y', Cb, Cr


def to_yuv444(rgb: NDArray) -> NDArray:
    """RGB (H, W, 3) of 0..255 -> studio codes (3, H, W), unrounded."""
    weights = (_MATRIX * np.array([[219.0], [224.0], [224.0]]) / 255).astype(np.float32)
    yuv = np.tensordot(weights, rgb.astype(np.float32), axes=(1, 2))
    yuv += np.array([16, 128, 128], np.float32)[:, None, None]
    return yuv


def rounded(planes: NDArray) -> Plane:
    """To 8-bit codes."""
    return np.clip(np.rint(planes), 0, 255).astype(np.uint8)


def subsample(chroma_CHW: NDArray, site: Site) -> NDArray:
    """Chroma (2, H, W) on the luma grid -> (2, H / 2, W / 2) at `site`: means of two samples between them, 1-2-1 on a sample."""
    halved: NDArray = chroma_CHW.astype(np.float32)
    for axis, place in zip((1, 2), site, strict=True):
        even = np.take(halved, np.arange(0, halved.shape[axis], 2), axis)
        odd = np.take(halved, np.arange(1, halved.shape[axis], 2), axis)
        if place == 0.5:
            halved = (even + odd) / 2
        else:
            before = np.concatenate([np.take(odd, [0], axis), np.take(odd, np.arange(odd.shape[axis] - 1), axis)], axis)
            halved = even / 2 + (before + odd) / 4
    return halved


def offset_of(place: float, scale: int) -> float:
    """Luma pixels of the input from the luma grid to where the network's chroma lies (Note [Chroma grid]), along one axis."""
    return (place + 0.5) / scale - 0.5 if scale == 2 else 0.0


def to_luma_grid(chroma_CHW: NDArray, site: Site, scale: int, kernel: Filter) -> NDArray:
    """Chroma (2, H, W) at `site` -> (2, 2 H, 2 W) on the network's chroma grid, edges repeated."""
    shifts = ((offset_of(place, scale) - place) / 2 for place in site)
    down, across = (_weights(size, shift, kernel) for size, shift in zip(chroma_CHW.shape[1:], shifts, strict=True))
    return down @ chroma_CHW.astype(np.float32) @ across.T


@lru_cache(maxsize=64)
def _weights(size: int, first: float, kernel: Filter) -> NDArray[np.float32]:
    """(2 size, size): the weights of samples that bring them to `first`, `first` + 1/2 and so on, in samples."""
    at = first + np.arange(2 * size) / 2
    taps = np.floor(at).astype(int)[:, None] + np.arange(1 - REACH, 1 + REACH)
    distance = at[:, None] - taps
    weights = np.maximum(1 - np.abs(distance), 0) if kernel == "linear" else np.sinc(distance) * np.sinc(distance / REACH)
    matrix = np.zeros((2 * size, size), np.float32)
    np.add.at(matrix, (np.arange(2 * size)[:, None], np.clip(taps, 0, size - 1)), weights / weights.sum(1, keepdims=True))
    return matrix
