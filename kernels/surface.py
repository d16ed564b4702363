"""Surface: how a decoder's or an encoder's picture lies in device memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

SUBSAMPLING = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}
_SEMI_PLANAR = {"nv12": "420", "nv16": "422", "nv24": "444"}
_PLANAR = re.compile(r"yuv(420|422|444)p(9|10|12|14|16)?(msb)?(le)?")
_HIGH_BITS = re.compile(r"p(0|2|4)(10|12|16)(le)?")


@dataclass(frozen=True, slots=True)
class Surface:
    """The planes of a YUV format: Y and interleaved chroma, or Y, Cb and Cr.

    bits: of a code, 8 to 16. shift: unused low bits below it ("p010": 10 bits at the top of 16, so 6).
    log2_chroma: (horizontal, vertical) log2 of the chroma subsampling, (1, 1) for 4:2:0.
    """

    name: str
    bits: int
    shift: int
    log2_chroma: tuple[int, int]
    interleaved: bool

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def max_code(self) -> int:
        """255 for 8 bits, 1023 for 10."""
        return (1 << self.bits) - 1

    def plane_shapes(self, width: int, height: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of the surface's planes, in samples; an odd size rounds up: (3, 5) in nv12 is (5, 3), (3, 2, 2)."""
        chroma = (-(-height >> self.log2_chroma[1]), -(-width >> self.log2_chroma[0]))
        return ((height, width), (*chroma, 2)) if self.interleaved else ((height, width), chroma, chroma)


def find_surface(pix_fmt: str) -> Surface:
    """The Surface of an FFmpeg pixel format: nv12, nv16, nv24, p010 to p416, yuv420p to yuv444p16, yuv444p10msb; "le" or not.

    P016 from NVDEC holds 12-bit video at the top of 16 bits: name it "p012" where the video's depth counts.
    Raises ValueError for any other.
    """
    if pix_fmt in _SEMI_PLANAR:
        return Surface(pix_fmt, 8, 0, SUBSAMPLING[_SEMI_PLANAR[pix_fmt]], True)
    if match := _HIGH_BITS.fullmatch(pix_fmt):
        sampling = {"0": "420", "2": "422", "4": "444"}[match[1]]
        return Surface(pix_fmt, int(match[2]), 16 - int(match[2]), SUBSAMPLING[sampling], True)
    match = _PLANAR.fullmatch(pix_fmt)
    if match and (match[2] or not (match[3] or match[4])):
        bits = int(match[2] or 8)
        return Surface(pix_fmt, bits, 16 - bits if match[3] else 0, SUBSAMPLING[match[1]], False)
    raise ValueError(
        f"No kernel reads {pix_fmt!r}. Surfaces: nv12, nv16, nv24, p010, p012, p016 (also p2.., p4..), "
        "yuv420p, yuv422p, yuv444p and these with 9, 10, 12, 14 or 16 bits."
    )
