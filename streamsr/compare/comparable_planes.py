"""What the measures compare: luma and RGB of a frame, by its tags.

Note [Luma]
    Luma is in 8-bit studio codes, 16 .. 235, whatever the frame's bits and range: PSNR of 8-bit limited video is then what FFmpeg's
    psnr filter calls psnr_y, and PSNR of RGB pictures what the super-resolution literature calls PSNR-Y.
    YUV planes are taken as they are where both frames have the same matrix. Where they differ (a BT.601 result of a BT.709 original, RGB
    beside YUV) both go through RGB to the luma of the original's matrix.
    A frame that names no matrix has its partner's; where neither does, BT.709 from 720 lines up, BT.601 below, as players guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import av
import numpy as np

from ..colour import BT601, BT709, BT2020
from ..frame import Frame, Layout
from ..resample import convert, to_planar
from .measures import Plane

FULL = 2  # FFmpeg's AVCOL_RANGE_JPEG
UNSPECIFIED = 2
RGB_MATRIX = 0
WEIGHTS = {1: BT709, 4: BT601, 5: BT601, 6: BT601, 7: BT709, 9: BT2020, 10: BT2020}  # by ITU-T H.273 matrix coefficients; 7 is within 0.001


@dataclass(frozen=True, slots=True)
class ComparablePlanes:
    """rgb: uint8 (H, W, 3), full range. luma: float32 (H, W), Note [Luma]."""

    rgb: np.ndarray
    luma: Plane


def to_pictures(result: av.VideoFrame, original: av.VideoFrame) -> tuple[ComparablePlanes, ComparablePlanes]:
    """Both frames for the measures. Raises ValueError for pixel formats that FFmpeg's swscale cannot read."""
    frames = [to_planar(result), to_planar(original)]
    layouts = [Frame(frame).layout for frame in frames]
    matrices = [matrix_of(frame, layout) for frame, layout in zip(frames, layouts, strict=True)]
    named = [m for m in matrices[::-1] if m is not None and m != RGB_MATRIX]
    guess = 1 if original.height >= 720 else 6
    matrix = named[0] if named else guess
    own = [matrix if m is None else m for m in matrices]
    pictures = []
    for frame, layout, mine in zip(frames, layouts, own, strict=True):
        if layout.kind == "yuv":
            frame.colorspace = mine
        rgb = convert(frame, "rgb24").to_ndarray()
        same = len(set(own)) == 1 or layout.kind == "gray"
        luma = studio_luma(frame, layout) if same and layout.kind != "rgb" else luma_of_rgb(rgb, WEIGHTS.get(matrix, BT709))
        pictures.append(ComparablePlanes(np.asarray(rgb, np.uint8), luma))
    return pictures[0], pictures[1]


def matrix_of(frame: av.VideoFrame, layout: Layout) -> int | None:
    """H.273 matrix coefficients; 0 for RGB, None where a YUV or gray frame does not say."""
    if layout.kind == "rgb":
        return RGB_MATRIX
    code = int(frame.colorspace)
    return None if code in (UNSPECIFIED, RGB_MATRIX) or layout.kind == "gray" else code


def studio_luma(frame: av.VideoFrame, layout: Layout) -> Plane:
    """The first plane in 8-bit studio codes, not rounded."""
    codes = Frame(frame).luma.astype(np.float32)
    full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
    if full:
        return 16 + codes * np.float32(219 / layout.max_code)
    return codes / np.float32(1 << (layout.bits - 8))


def luma_of_rgb(rgb: np.ndarray, weights: tuple[float, float, float]) -> Plane:
    """Studio luma of full-range RGB (H, W, 3), not rounded."""
    return 16 + rgb.astype(np.float32) @ (np.array(weights, np.float32) * np.float32(219 / 255))
