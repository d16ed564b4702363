"""Clean degradations: the downscalers that make real low-resolution video and pictures, all centre-aligned.

Note [Siting]: every kernel here maps the pixel centre (i + 0.5) / scale, so a low-resolution sample lies in the middle of the scale x scale
block that it stands for. tests/trainer/data/test_degrade.py holds them to 0.05 of a pixel.
"""

import io
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.photos import Plane, luma_codes

Kernel = Literal["sws_bicubic", "sws_area", "sws_lanczos", "bicubic"]
# how often each is drawn: FFmpeg's default makes most small video, Pillow's BICUBIC the published protocols
KERNEL_WEIGHTS: dict[Kernel, int] = {"sws_bicubic": 9, "bicubic": 1, "sws_area": 1, "sws_lanczos": 1}
PICTURE_KERNEL_WEIGHTS: dict[Kernel, int] = {"bicubic": 5, "sws_bicubic": 1}

_PILLOW = {"bicubic": Image.Resampling.BICUBIC}
_SWSCALE = {"sws_bicubic": "BICUBIC", "sws_area": "AREA", "sws_lanczos": "LANCZOS"}


def downscale_rgb(rgb: Plane, *, scale: int, kernel: Kernel) -> Plane:
    """uint8 (H, W, 3) -> 8-bit studio luma (H // scale, W // scale). H and W are multiples of `scale`.

    Pillow's kernels work on 8-bit RGB (as the published protocols do), swscale's on the luma plane (as FFmpeg does with video).
    """
    if kernel in _SWSCALE:
        return downscale_luma(luma_codes(rgb), scale=scale, kernel=kernel)
    return luma_codes(np.asarray(shrunk(rgb, scale)))


def shrunk(rgb: Plane, scale: int) -> Image.Image:
    """uint8 (H, W, 3) -> the picture of (H // scale, W // scale) that Pillow's bicubic (antialiased) makes, as the protocols do."""
    return Image.fromarray(rgb).resize((rgb.shape[1] // scale, rgb.shape[0] // scale), Image.Resampling.BICUBIC)


def jpeg_luma(rgb: Plane, *, scale: int, quality: int) -> Plane:
    """uint8 (H, W, 3) -> 8-bit studio luma (H // scale, W // scale) of the picture through Pillow's bicubic and a JPEG file (4:2:0)."""
    return luma_codes(np.asarray(through_jpeg(shrunk(rgb, scale), quality)))


def through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    """The picture as a JPEG file of Pillow's `quality` (4:2:0) holds it."""
    file = io.BytesIO()
    picture.save(file, "jpeg", quality=quality)
    return Image.open(file)


def downscale_luma(luma: Plane, *, scale: int, kernel: Kernel) -> Plane:
    """8-bit luma (H, W) -> (H // scale, W // scale), codes kept as they are (no range change)."""
    h, w = luma.shape[0] // scale, luma.shape[1] // scale
    if kernel in _PILLOW:
        return np.asarray(Image.fromarray(luma).resize((w, h), _PILLOW[kernel]))
    frame = luma_frame(luma).reformat(width=w, height=h, format="yuv420p", interpolation=_SWSCALE[kernel])
    return plane_of(frame)


def luma_frame(luma: Plane) -> av.VideoFrame:
    """A yuv420p frame with this luma (H, W) and neutral chroma. H and W are even."""
    chroma = np.full((luma.shape[0] // 2, luma.shape[1]), 128, np.uint8)
    return av.VideoFrame.from_ndarray(np.concatenate([luma, chroma]), format="yuv420p")


def plane_of(frame: av.VideoFrame) -> Plane:
    """The luma plane (height, width) of an 8-bit planar frame, without row padding."""
    plane = frame.planes[0]
    rows: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width].copy()


def crop_to_multiple(rgb: Plane, multiple: int) -> Plane:
    """Cut the right and bottom edge so that both sides are multiples."""
    return rgb[: rgb.shape[0] // multiple * multiple, : rgb.shape[1] // multiple * multiple]
