"""Frame: one picture on its way from a source to a sink, and Layout: what its planes are.

A Frame looks into the memory of the `av.VideoFrame` that it holds and copies nothing. The av.VideoFrame carries
the pts, duration, colour tags and side data, so whatever FFmpeg attaches to a picture travels with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import av
import numpy as np

Kind = Literal["yuv", "gray", "rgb"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The planes of a planar, native-endian pixel format of 8 to 16 bits.

    kind: "yuv" (planes Y, Cb, Cr), "gray" (Y), "rgb" (FFmpeg's gbrp: planes G, B, R); alpha comes last.
    log2_chroma: (horizontal, vertical) log2 of the chroma subsampling, (1, 1) for 4:2:0.
    """

    name: str
    kind: Kind
    bits: int
    log2_chroma: tuple[int, int]
    alpha: bool

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype(np.uint16)

    @property
    def max_code(self) -> int:
        """The largest code value: 255 for 8 bits, 1023 for 10."""
        return (1 << self.bits) - 1

    def plane_size(self, index: int, width: int, height: int) -> tuple[int, int]:
        """(width, height) in samples of plane `index` of a picture: an odd size rounds up, so no column is lost."""
        if self.kind == "yuv" and index in (1, 2):
            return -(-width >> self.log2_chroma[0]), -(-height >> self.log2_chroma[1])
        return width, height


@lru_cache(maxsize=256)
def find_layout(pix_fmt: str) -> Layout | None:
    """The Layout of an FFmpeg pixel format, or None where streamsr has to convert first (packed, palette, big-endian)."""
    try:
        video_format = av.VideoFormat(pix_fmt)
    except ValueError:
        return None
    components = video_format.components
    depths = {component.bits for component in components}
    planes = [component.plane for component in components]
    little = not video_format.is_big_endian or pix_fmt.endswith("le")
    if len(depths) != 1 or len(set(planes)) != len(planes) or not little or video_format.has_palette:
        return None
    bits = depths.pop()
    if not 8 <= bits <= 16 or pix_fmt.startswith(("xyz", "bayer", "p0", "nv", "gbrpf", "gbrapf", "grayf")):
        return None
    if pix_fmt.endswith(("msble", "msbbe")):
        return None
    alpha = len(components) in (2, 4)
    if alpha and len(components) == 2:
        return None  # ya8 is packed in FFmpeg
    kind: Kind = "gray" if len(components) == 1 else "rgb" if video_format.is_rgb else "yuv"
    if kind == "gray" and not pix_fmt.startswith("gray"):
        return None
    log2_chroma = (0, 0)
    if kind == "yuv":
        width, height = video_format.chroma_width(64), video_format.chroma_height(64)
        log2_chroma = ((64 // width).bit_length() - 1, (64 // height).bit_length() - 1)
    return Layout(pix_fmt, kind, bits, log2_chroma, alpha)


# surfaces of NVDEC and NVENC, and the planar formats that hold the same samples
SURFACES = {"nv12": "yuv420p", "p010le": "yuv420p10le"}


def is_on_device(video: av.VideoFrame) -> bool:
    """Whether the samples are in a GPU's memory, where only a device reads them."""
    return video.format.name == "cuda"


def sample_format(video: av.VideoFrame) -> str:
    """The pixel format of a frame's samples; of a surface on a device, the planar one that holds the same.

    Raises ValueError for a surface of another kind.
    """
    if not is_on_device(video):
        return video.format.name
    name = "" if video.sw_format is None else video.sw_format.name
    if name not in SURFACES:
        raise ValueError(f"Surfaces of {name!r} are not supported. Known: {', '.join(SURFACES)}.")
    return SURFACES[name]


def fetch(video: av.VideoFrame) -> av.VideoFrame:
    """The frame in host memory with all its metadata; the frame itself if it is there already."""
    return reformat(video, sample_format(video)) if is_on_device(video) else video


def reformat(video: av.VideoFrame, pix_fmt: str, **colour: int | None) -> av.VideoFrame:
    """The picture in another pixel format; colour: PyAV's src_ and dst_colorspace and -_color_range.

    On one thread. swscale writes 10-bit rows a few samples too far, into the next one, where rows have no room behind them (PyAV's, 854
    wide): the next row mends that, unless it is another thread's and was there first. So on several threads 8 samples were wrong.
    """
    return video.reformat(format=pix_fmt, threads=1, **colour)


def plane_view(video: av.VideoFrame, index: int, layout: Layout) -> np.ndarray:
    """Plane `index` as an array (height, width) that shares the frame's memory; rows may be padded."""
    plane = video.planes[index]
    width, height = layout.plane_size(index, video.width, video.height)
    samples = np.frombuffer(plane, layout.dtype)  # type: ignore[call-overload]
    stride = abs(plane.line_size) // layout.dtype.itemsize
    rows = samples[: height * stride].reshape(height, stride)[:, :width]
    return rows if plane.line_size > 0 else rows[::-1]  # a flipped picture is stored from its last row on


class Frame:
    """A picture in host memory: `video` owns the samples, `layout` names the planes.

    Raises ValueError when the pixel format has no Layout: convert first (`streamsr.resample.to_planar`).
    """

    __slots__ = ("layout", "video")

    def __init__(self, video: av.VideoFrame) -> None:
        layout = find_layout(video.format.name)
        if layout is None:
            raise ValueError(f"Pixel format {video.format.name!r} is not planar; convert it to one like 'yuv420p' first.")
        self.video = video
        self.layout = layout

    @property
    def planes(self) -> tuple[np.ndarray, ...]:
        """Views of all planes, luma (or green) first."""
        return tuple(plane_view(self.video, index, self.layout) for index in range(len(self.video.planes)))

    @property
    def luma(self) -> np.ndarray:
        """The first plane, (height, width) uint8 or uint16."""
        return plane_view(self.video, 0, self.layout)

    @property
    def width(self) -> int:
        return self.video.width

    @property
    def height(self) -> int:
        return self.video.height

    @property
    def pts(self) -> int | None:
        """Presentation time in ticks of `time_base`."""
        return self.video.pts

    @property
    def time_base(self) -> Fraction | None:
        return self.video.time_base

    def __repr__(self) -> str:
        return f"Frame({self.width}x{self.height} {self.layout.name}, pts={self.pts})"
