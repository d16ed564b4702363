"""FramePlan: what a stream of frames is and becomes, as sizes: planes, passes of the network, where chroma goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av

from ..frame import SURFACES, Layout, find_layout, is_on_device, sample_format
from ..models import ModelSpec
from ..resample import even_extension, exact_side, planar_format
from ..siting import find_chroma_location
from ..upscaling.chroma_grid import Grid, grid_of, network_grid

Told = tuple[float, float]  # blur and damage: streamsr.upscaling.source_condition
SURFACE_OF = {planar: surface for surface, planar in SURFACES.items()} | {"yuvj420p": "nv12"}  # what an encoder takes


def picture_format(video: av.VideoFrame) -> str:
    """The planar pixel format of a frame's samples, wherever they are. Raises ValueError for what has none."""
    return planar_format(sample_format(video))


@dataclass(frozen=True, slots=True)
class ChromaMap:
    """How the chroma planes of one picture become those of another."""

    source: tuple[int, int]  # width, height of the picture, in luma samples
    target: tuple[int, int]  # the same of the output
    log2: tuple[int, int]  # horizontal, vertical subsampling
    location: str  # where samples lie, FFmpeg's name: "left", "center", ...; "unspecified" counts as left

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of chroma that all of the source's becomes; what the output has no room for is cut off.

        More than the output's where Note [Odd sizes] of streamsr.resample makes the ratio a whole number.
        """
        sides = []
        for source, target, log2 in zip(self.source, self.target, self.log2, strict=True):
            added, ratio = even_extension(source, target, log2)
            sides.append(((source + added) * ratio if added else -(-target >> log2 << log2)) >> log2)
        return sides[0], sides[1]


@dataclass(frozen=True, slots=True)
class Pass:
    """One run of the network."""

    spec: ModelSpec
    shape: tuple[int, int]  # rows and columns of the luma that goes in
    padded: tuple[int, int]  # the same, up to the model's multiple
    chroma: tuple[Grid, Grid] | None = None  # where chroma lies before, and where the network takes it; None: it takes none

    @property
    def result(self) -> tuple[int, int]:
        """Rows and columns that come out."""
        return self.shape[0] * self.spec.scale, self.shape[1] * self.spec.scale


@dataclass(frozen=True, slots=True)
class FramePlan:
    """Frames of one kind and what they become. All sides are in samples, width before height."""

    width: int
    height: int
    layout: Layout  # planar; of a surface, the planes that hold the same
    is_surface: bool  # a decoder's, on the device
    chroma: ChromaMap | None  # None: gray
    size: tuple[int, int]  # of the output
    luma_size: tuple[int, int]  # the part of it that the picture takes up: see Note [Odd sizes] of streamsr.resample
    passes: tuple[Pass, ...]
    told: Told = (0.0, 0.0)  # what networks of luma and chroma are told about the source
    grids: tuple[Grid, Grid] | None = None  # where the networks' chroma lies in pixels of the output, and where the output's does

    @property
    def has_chroma(self) -> bool:
        """Whether a network makes the output's chroma."""
        return self.grids is not None

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


def find_reason_for_host(layout: Layout, passes: Sequence[ModelSpec] = ()) -> str | None:
    """Why frames of this layout are upscaled in host memory; None if they need not be."""
    if layout.kind == "gray" and any(spec.has_chroma for spec in passes):
        return f"{layout.name} has no chroma, which the network takes"
    if layout.alpha:
        return f"{layout.name} has alpha"
    if layout.kind == "rgb":
        return f"{layout.name} is RGB"
    return None


def describe_picture(video: av.VideoFrame, size: tuple[int, int], passes: Sequence[ModelSpec], told: Told = (0.0, 0.0)) -> FramePlan:
    """The FramePlan of a frame, planar or a surface. size: (width, height) of the output; passes: the model at each pass."""
    pix_fmt = picture_format(video)
    layout = find_layout(pix_fmt)
    assert layout is not None
    assert find_reason_for_host(layout) is None
    source = (video.width, video.height)
    luma_width, luma_height = (exact_side(*side) for side in zip(source, size, layout.log2_chroma, strict=True))
    rows, columns = video.height, video.width
    chroma, grid, own = None, None, None
    if layout.kind == "yuv":
        location = find_chroma_location(video) if layout.log2_chroma != (0, 0) else "unspecified"
        chroma = ChromaMap(source, size, layout.log2_chroma, location)
        grid = own = grid_of(layout, location if layout.log2_chroma != (0, 0) else "center")
    steps = []
    for spec in passes:
        multiple, grids = spec.size_multiple, None
        if spec.has_chroma:
            assert grid is not None
            grids = grid, network_grid(grid, spec.scale)
            grid = grids[1]
        steps.append(Pass(spec, (rows, columns), (rows + -rows % multiple, columns + -columns % multiple), grids))
        rows, columns = steps[-1].result
        grid = grid and (grid[0].enlarged(spec.scale), grid[1].enlarged(spec.scale))
    if grid is not None and (rows, columns) != (luma_height, luma_width):
        grid = grid[0].enlarged(luma_height / rows), grid[1].enlarged(luma_width / columns)
    ends = None if grid is None or own is None or not any(spec.has_chroma for spec in passes) else (grid, own)
    return FramePlan(*source, layout, is_on_device(video), chroma, size, (luma_width, luma_height), tuple(steps), told, ends)
