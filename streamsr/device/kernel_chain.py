"""Chain: what happens to the planes of a frame on the device, one launch after another on one stream.

    luma codes -> unpack -> network -> pack -> (again for each pass) -> exact size -> edge
    chroma codes -> resample
                 or, for networks of luma and chroma: -> the network's grid -> unpack -> network -> pack -> the output's grid

A chain owns the memory that this takes and a lane of each engine (Note [Lanes] of streamsr.engines.device_engine), so frames in
flight have a chain each. `enqueue` only launches, so it can be captured in a graph. Where the memory is too small for a whole
picture the network sees tiles of it, with the same result (streamsr.engines.tiling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engines.device_engine import DeviceChroma, DeviceEngine, Lane
from ..engines.tiling import Tile, plan_tiles
from .device import Device, DeviceArray, Stream, Tables
from .frame_plan import FramePlan, Pass, Told

Planes = tuple[DeviceArray, ...]
States = tuple[Planes, ...]  # of each pass: what its model carries from frame to frame


class Chain:
    """Room for `batch` frames at once.

    limit: the most pixels of luma that the network sees at once; None: the whole picture. Tiles take one frame at a time.
    stream: the source condition of networks of luma and chroma is uploaded on it, and is ready when this returns.
    Raises DeviceMemoryError where the device has no room for it, EngineError where the model cannot be run.
    """

    def __init__(
        self, device: Device, picture: FramePlan, engines: Sequence[DeviceEngine], *, batch: int, limit: int | None, stream: Stream
    ) -> None:
        assert batch == 1 or limit is None
        self._device = device
        self._picture = picture
        self._steps: list[_Step] = []
        self.tables: Tables = {}  # filters that graphs of this chain read
        shapes = picture.shapes((picture.width, picture.height))
        chroma_shape = shapes[1] if len(shapes) > 1 else shapes[0]
        try:
            for number, (each, engine) in enumerate(zip(picture.passes, engines, strict=True)):
                is_last = number == len(picture.passes) - 1
                fits = is_last and (each.result[1], each.result[0]) == picture.luma_size
                self._steps.append(_Step(device, each, engine, picture, batch=batch, limit=limit, needs_result=not fits))
                if each.chroma is not None:
                    made = picture.shapes(picture.size)[1]
                    fits = is_last and picture.grids is not None and picture.grids[0] == picture.grids[1] and each.shape == made
                    self._steps[-1].add_chroma(each, chroma_shape, batch=batch, needs_result=not fits)
                    chroma_shape = each.shape
            self._tell(picture.told, stream)
        except BaseException:
            self.close()
            raise

    def _tell(self, told: Told, stream: Stream) -> None:
        for step in self._steps:
            if step.chroma is not None:
                host = self._device.pin((1, 2, 1, 1), step.dtype)
                np.copyto(host, np.array(told, host.dtype).reshape(1, 2, 1, 1))
                self._device.upload(host, step.chroma.condition, stream)
                self._device.synchronise(self._device.record(stream))

    @property
    def is_capturable(self) -> bool:
        """Whether `enqueue` may be captured, once it has run."""
        return all(step.lane.is_capturable for step in self._steps)

    def enqueue(self, sources: Sequence[Planes], results: Sequence[Planes], state: States, following: States, stream: Stream) -> None:
        """Launch everything for `batch` frames. sources, results: the planes of each; state is read, following written."""
        device, picture = self._device, self._picture
        lumas: Sequence[DeviceArray] = [planes[0] for planes in sources]
        width, height = picture.luma_size
        outs = [planes[0][:height, :width] for planes in results]
        chromas: Sequence[Planes] = [planes[1:3] for planes in sources]
        targets = [planes[1:3] for planes in results]
        for step, old, new in zip(self._steps, state, following, strict=True):
            made: Sequence[DeviceArray] = step.results or outs
            if step.chroma is None:
                step.enqueue(lumas, made, old, new, stream)
            else:
                given = step.bring_chroma(chromas, self.tables, stream)
                chromas = step.chroma_results or targets
                step.enqueue(lumas, made, old, new, stream, chromas=(given, chromas))
            lumas = made
        for luma, out, whole in zip(lumas, outs, results, strict=True):
            if luma is not out:
                device.kernels.resample_luma(luma, out, bits=picture.bits, tables=self.tables, stream=stream)
            self._repeat_edge(whole[0], stream)
        if picture.grids is not None:
            for pair, target in zip(chromas, targets, strict=True):
                if pair is not target:
                    source, wanted = picture.grids
                    device.kernels.regrid_chroma(
                        pair, target, source, wanted, kernel="lanczos", bits=picture.bits, tables=self.tables, stream=stream
                    )
        elif picture.chroma is not None:
            for planes, result in zip(sources, results, strict=True):
                device.kernels.resample_chroma(
                    planes[1:3], result[1:3], picture.chroma, bits=picture.bits, tables=self.tables, stream=stream
                )

    def planes_of(self, number: int) -> tuple[DeviceArray, DeviceArray, DeviceChroma | None] | None:
        """What pass `number` gave the network last, what it got, and the same of chroma; None where it saw tiles."""
        step = self._steps[number]
        return None if step.is_tiled else (step.luma, step.out, step.chroma)

    def _repeat_edge(self, plane: DeviceArray, stream: Stream) -> None:
        """Note [Odd sizes] of streamsr.resample: the last column and row again."""
        width, height = self._picture.luma_size
        for column in range(width, plane.shape[1]):
            self._device.copy(plane[:height, width - 1 : width], plane[:height, column : column + 1], stream)
        for row in range(height, plane.shape[0]):
            self._device.copy(plane[height - 1 : height], plane[row : row + 1], stream)

    def close(self) -> None:
        """Free the lanes; the stream must be idle."""
        for step in self._steps:
            step.lane.close()
        self._steps = []


class _Step:
    """A pass of the network with its lane and its planes."""

    def __init__(
        self, device: Device, each: Pass, engine: DeviceEngine, picture: FramePlan, *, batch: int, limit: int | None, needs_result: bool
    ) -> None:  # fmt: skip
        self._device, self._engine, self._bits = device, engine, picture.bits
        self.dtype = engine.dtype
        self.chroma: DeviceChroma | None = None
        self.chroma_results: list[Planes] = []  # codes on the network's grid, where that is not the output's
        self._gridded: list[Planes] = []  # codes that were brought to the network's grid
        self._grids, self._kernel = each.chroma, each.spec.chroma_filter
        self._sample = picture.dtype
        self._tiles = find_tiles(each, limit)
        rows, columns = self._tiles[0].window if self._tiles else (slice(0, each.padded[0]), slice(0, each.padded[1]))
        height, width = rows.stop - rows.start, columns.stop - columns.start
        self.lane: Lane = engine.open_lane(batch, height, width)
        try:
            self.luma = device.allocate((batch, 1, height, width), engine.dtype)
            self.out = device.allocate((batch, 1, height * engine.scale, width * engine.scale), engine.dtype)
            # codes of the whole plane, where they are not the output's
            self.results = [device.allocate(each.result, picture.dtype) for _ in range(batch)] if needs_result else []
            self._parts: list[Planes] = []  # of the states, for a tile: before and after
            if self._tiles:
                shapes = state_shapes(engine, height, width)
                self._parts = [tuple(device.allocate(shape, engine.dtype) for shape in shapes) for _ in range(2)]
        except BaseException:
            self.lane.close()
            raise

    def add_chroma(self, each: Pass, source: tuple[int, int], *, batch: int, needs_result: bool) -> None:
        """Room for chroma; source: rows and columns of the planes that come."""
        allocate, shape = self._device.allocate, (batch, 2, *self.luma.shape[2:])
        arrays = (allocate(shape, self.dtype), allocate(shape, self.dtype), allocate((1, 2, 1, 1), self.dtype))
        self.chroma = DeviceChroma(*arrays)
        assert self._grids is not None
        pairs = [(allocate(each.shape, self._sample), allocate(each.shape, self._sample)) for _ in range(batch * (1 + needs_result))]
        if source != each.shape or self._grids[0] != self._grids[1]:
            self._gridded = list(pairs[:batch])
        self.chroma_results = list(pairs[batch:])

    def bring_chroma(self, planes: Sequence[Planes], tables: Tables, stream: Stream) -> Sequence[Planes]:
        """Cb and Cr of each frame on the network's grid."""
        if not self._gridded:
            return planes
        assert self._grids is not None
        for given, made in zip(planes, self._gridded, strict=True):
            self._device.kernels.regrid_chroma(
                given, made, *self._grids, kernel=self._kernel, bits=self._bits, tables=tables, stream=stream
            )
        return self._gridded

    @property
    def is_tiled(self) -> bool:
        return bool(self._tiles)

    def enqueue(
        self, lumas: Sequence[DeviceArray], outs: Sequence[DeviceArray], state: Planes, following: Planes, stream: Stream, *,
        chromas: tuple[Sequence[Planes], Sequence[Planes]] = ((), ()),
    ) -> None:  # fmt: skip
        """chromas: of each frame, on the network's grid: what goes in and where it comes out."""
        kernels, bits = self._device.kernels, self._bits
        if self._tiles:
            for tile in self._tiles:
                self._enqueue_tile(tile, lumas[0], outs[0], state, following, stream, chromas=tuple(each[:1] for each in chromas))
            return
        for number, luma in enumerate(lumas):
            kernels.unpack(luma, self.luma[number, 0], bits=bits, stream=stream)
        self._unpack_chroma(chromas[0], stream)
        self.lane.enqueue(self.luma, self.out, state, following, self.chroma, stream=stream.ptr)
        for number, out in enumerate(outs):
            kernels.pack(self.out[number, 0], out, bits=bits, stream=stream)
        for number, pair in enumerate(chromas[1]):
            for index, plane in enumerate(pair):
                assert self.chroma is not None
                kernels.pack(self.chroma.out[number, index], plane, bits=bits, stream=stream)

    def _unpack_chroma(self, pairs: Sequence[Planes], stream: Stream) -> None:
        for number, pair in enumerate(pairs):
            for index, plane in enumerate(pair):
                assert self.chroma is not None
                self._device.kernels.unpack(plane, self.chroma.samples[number, index], bits=self._bits, stream=stream)

    def _enqueue_tile(
        self, tile: Tile, luma: DeviceArray, out: DeviceArray, state: Planes, following: Planes, stream: Stream, *,
        chromas: tuple[Sequence[Planes], ...],
    ) -> None:  # fmt: skip
        device, scale = self._device, self._engine.scale
        device.kernels.unpack(luma[tile.window], self.luma[0, 0], bits=self._bits, stream=stream)
        self._unpack_chroma([tuple(plane[tile.window] for plane in pair) for pair in chromas[0]], stream)
        before, after = self._parts
        factors = [shape.scale for shape in self._engine.states]
        for whole, part, factor in zip(state, before, factors, strict=True):
            device.copy(whole[scaled(tile.window, factor)], part, stream)
        self.lane.enqueue(self.luma, self.out, before, after, self.chroma, stream=stream.ptr)
        sides = zip(tile.window, tile.kept, strict=True)
        inner = tuple(slice(kept.start - window.start, kept.stop - window.start) for window, kept in sides)
        device.kernels.pack(self.out[0, 0][scaled(inner, scale)], out[scaled(tile.kept, scale)], bits=self._bits, stream=stream)
        for pair in chromas[1]:
            for index, plane in enumerate(pair):
                assert self.chroma is not None
                made = self.chroma.out[0, index][scaled(inner, 1)]
                device.kernels.pack(made, plane[scaled(tile.kept, 1)], bits=self._bits, stream=stream)
        for whole, part, factor in zip(following, after, factors, strict=True):
            device.copy(part[scaled(inner, factor)], whole[scaled(tile.kept, factor)], stream)


def find_tiles(each: Pass, limit: int | None) -> list[Tile]:
    """The tiles of a pass; [] where it is computed whole."""
    if limit is None or not can_tile(each):
        return []
    tiles = plan_tiles(*each.shape, radius=each.spec.receptive_field or 0, limit=limit)
    return tiles if len(tiles) > 1 else []


def can_tile(each: Pass) -> bool:
    """Whether tiles give what the whole picture does."""
    return each.spec.receptive_field is not None and each.spec.size_multiple == 1


def state_shapes(engine: DeviceEngine, height: int, width: int) -> list[tuple[int, ...]]:
    """The shape of each state for luma of height x width."""
    return [(1, state.channels, state.scale * height, state.scale * width) for state in engine.states]


def scaled(place: tuple[slice, ...], scale: int) -> tuple[Any, ...]:
    """Rows and columns (the last two axes) at `scale` times the size."""
    return (..., *(slice(part.start * scale, part.stop * scale) for part in place))
