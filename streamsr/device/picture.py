"""Picture: what a stream of frames is and becomes, as sizes: planes, passes of the network, where chroma goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av

from ..frame import Layout, find_layout
from ..models import ModelSpec
from ..resample import even_extension, exact_side, planar_format
from ..siting import find_chroma_location

SEMI_PLANAR = {"nv12": "yuv420p", "p010le": "yuv420p10le"}  # surfaces of NVDEC and NVENC, and the planes that hold the same
SURFACES = {planar: surface for surface, planar in SEMI_PLANAR.items()} | {"yuvj420p": "nv12"}


def is_on_device(video: av.VideoFrame) -> bool:
    """Whether the samples are in a GPU's memory."""
    return video.format.name == "cuda"


def picture_format(video: av.VideoFrame) -> str:
    """The planar pixel format of a frame's samples, wherever they are. Raises ValueError for frames of other hardware."""
    if not is_on_device(video):
        return planar_format(video.format.name)
    assert video.sw_format is not None
    return planar_format(video.sw_format.name)


def fetch(video: av.VideoFrame) -> av.VideoFrame:
    """The frame in host memory and planar; itself where it is."""
    return video.reformat(format=picture_format(video)) if is_on_device(video) else video


@dataclass(frozen=True, slots=True)
class ChromaMap:
    """How chroma planes of one picture become those of another: by the luma that they lie in.

    Sample i of the source lies at luma position (i + shift) * 2**log2 along each axis, where `shift` follows from `location`;
    so does sample j of the output, at `ratio` times the size. Output samples beyond ratio * the source are cut off.
    """

    source: tuple[int, int]  # width, height of the picture, in luma samples
    target: tuple[int, int]  # the same of the output
    log2: tuple[int, int]  # horizontal, vertical subsampling
    location: str  # FFmpeg's name: "left", "center", ...; "unspecified" counts as left

    @property
    def ratio(self) -> tuple[float, float]:
        """Output luma per source luma; a whole number where Note [Odd sizes] of streamsr.resample makes it one."""
        ratios = []
        for source, target, log2 in zip(self.source, self.target, self.log2, strict=True):
            added, whole = even_extension(source, target, log2)
            ratios.append(float(whole) if added else target / source)
        return ratios[0], ratios[1]

    @property
    def phase(self) -> tuple[float, float]:
        """How far the middle of the first sample lies from the edge of the picture, in luma samples, along each axis."""
        width, height = 1 << self.log2[0], 1 << self.log2[1]  # of a chroma sample, in luma samples
        across = width / 2 if self.location in ("center", "top", "bottom") else 0.5
        if self.location.startswith("top"):
            return across, 0.5
        return across, height - 0.5 if self.location.startswith("bottom") else height / 2


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the network."""

    spec: ModelSpec
    shape: tuple[int, int]  # rows and columns of the luma that goes in
    padded: tuple[int, int]  # the same, up to the model's multiple

    @property
    def result(self) -> tuple[int, int]:
        """Rows and columns that come out."""
        return self.shape[0] * self.spec.scale, self.shape[1] * self.spec.scale


@dataclass(frozen=True, slots=True)
class Picture:
    """Frames of one kind and what they become. All sides are in samples, width before height."""

    width: int
    height: int
    layout: Layout  # planar; of a surface, the planes that hold the same
    is_surface: bool  # a decoder's, on the device
    chroma: ChromaMap | None  # None: gray
    size: tuple[int, int]  # of the output
    luma_size: tuple[int, int]  # the part of it that the picture takes up: see Note [Odd sizes] of streamsr.resample
    passes: tuple[Pass, ...]

    @property
    def bits(self) -> int:
        return self.layout.bits

    @property
    def dtype(self) -> str:
        return str(self.layout.dtype)

    def shapes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """(rows, columns) of each plane of a picture of this size."""
        sides = [self.layout.plane_size(index, *size) for index in range(3 if self.chroma is not None else 1)]
        return [(height, width) for width, height in sides]


def find_reason_for_host(layout: Layout) -> str | None:
    """Why frames of this layout are upscaled by way of host memory; None where they need not be."""
    if layout.alpha:
        return f"{layout.name} has alpha"
    if layout.kind == "rgb":
        return f"{layout.name} is RGB"
    return None


def describe_picture(video: av.VideoFrame, size: tuple[int, int], passes: Sequence[ModelSpec]) -> Picture:
    """The Picture of a frame, planar or a surface. size: (width, height) of the output; passes: the model at each pass."""
    pix_fmt = picture_format(video)
    layout = find_layout(pix_fmt)
    assert layout is not None
    assert find_reason_for_host(layout) is None
    source = (video.width, video.height)
    luma_width, luma_height = (exact_side(*side) for side in zip(source, size, layout.log2_chroma, strict=True))
    rows, columns = video.height, video.width
    steps = []
    for spec in passes:
        multiple = spec.size_multiple
        steps.append(Pass(spec, (rows, columns), (rows + -rows % multiple, columns + -columns % multiple)))
        rows, columns = steps[-1].result
    chroma = None
    if layout.kind == "yuv":
        location = find_chroma_location(fetch(video)) if layout.log2_chroma != (0, 0) else "unspecified"
        chroma = ChromaMap(source, size, layout.log2_chroma, location)
    return Picture(*source, layout, is_on_device(video), chroma, size, (luma_width, luma_height), tuple(steps))
