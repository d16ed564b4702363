"""Chain: what happens to the planes of a frame on the device, one launch after another on one stream.

    luma codes -> unpack -> network -> pack -> (again for each pass) -> exact size -> edge
    chroma codes -> resample

A chain owns the memory that this takes and a lane of each engine (Note [Lanes] of streamsr.engines.device_engine), so frames in
flight have a chain each. `enqueue` only launches, so it can be captured in a graph. Where the memory is too small for a whole
picture the network sees tiles of it, with the same result (streamsr.engines.tiling).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engines.device_engine import DeviceEngine, Lane
from ..engines.tiling import Tile, plan_tiles
from .device import Device, DeviceArray, Stream, Tables
from .frame_plan import Pass, Picture

Planes = tuple[DeviceArray, ...]
States = tuple[Planes, ...]  # of each pass: what its model carries from frame to frame


class Chain:
    """Room for `batch` frames at once.

    limit: the most pixels of luma that the network sees at once; None: the whole picture. Tiles take one frame at a time.
    Raises DeviceMemoryError where the device has no room for it, EngineError where the model cannot be run.
    """

    def __init__(self, device: Device, picture: Picture, engines: Sequence[DeviceEngine], *, batch: int, limit: int | None) -> None:
        assert batch == 1 or limit is None
        self._device = device
        self._picture = picture
        self._steps: list[_Step] = []
        self.tables: Tables = {}  # filters that graphs of this chain read
        try:
            for number, (each, engine) in enumerate(zip(picture.passes, engines, strict=True)):
                is_last = number == len(picture.passes) - 1
                fits = is_last and (each.result[1], each.result[0]) == picture.luma_size
                self._steps.append(_Step(device, each, engine, picture, batch=batch, limit=limit, needs_result=not fits))
        except BaseException:
            self.close()
            raise

    @property
    def is_capturable(self) -> bool:
        """Whether `enqueue` may be captured, once it has run."""
        return all(step.lane.is_capturable for step in self._steps)

    def enqueue(self, sources: Sequence[Planes], results: Sequence[Planes], state: States, following: States, stream: Stream) -> None:
        """Launch everything for `batch` frames. sources, results: the planes of each; state is read, following written."""
        device, picture = self._device, self._picture
        lumas = [planes[0] for planes in sources]
        width, height = picture.luma_size
        outs = [planes[0][:height, :width] for planes in results]
        for step, old, new in zip(self._steps, state, following, strict=True):
            made = step.results or outs
            step.enqueue(lumas, made, old, new, stream)
            lumas = made
        for luma, out, whole in zip(lumas, outs, results, strict=True):
            if luma is not out:
                device.kernels.resample_luma(luma, out, bits=picture.bits, tables=self.tables, stream=stream)
            self._repeat_edge(whole[0], stream)
        if picture.chroma is not None:
            for planes, result in zip(sources, results, strict=True):
                device.kernels.resample_chroma(
                    planes[1:3], result[1:3], picture.chroma, bits=picture.bits, tables=self.tables, stream=stream
                )

    def planes_of(self, number: int) -> tuple[DeviceArray, DeviceArray] | None:
        """What pass `number` gave the network last, and what it got; None where it saw tiles."""
        step = self._steps[number]
        return None if step.is_tiled else (step.luma, step.out)

    def _repeat_edge(self, plane: DeviceArray, stream: Stream) -> None:
        """Note [Odd sizes] of streamsr.resample: the last column and row again."""
        width, height = self._picture.luma_size
        for column in range(width, plane.shape[1]):
            self._device.copy(plane[:height, width - 1 : width], plane[:height, column : column + 1], stream)
        for row in range(height, plane.shape[0]):
            self._device.copy(plane[height - 1 : height], plane[row : row + 1], stream)

    def close(self) -> None:
        """Free the lanes; the stream must have come to rest."""
        for step in self._steps:
            step.lane.close()
        self._steps = []


class _Step:
    """A pass of the network with its lane and its planes."""

    def __init__(
        self, device: Device, each: Pass, engine: DeviceEngine, picture: Picture, *, batch: int, limit: int | None, needs_result: bool
    ) -> None:  # fmt: skip
        self._device, self._engine, self._bits = device, engine, picture.bits
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

    @property
    def is_tiled(self) -> bool:
        return bool(self._tiles)

    def enqueue(self, lumas: Sequence[DeviceArray], outs: Sequence[DeviceArray], state: Planes, following: Planes, stream: Stream) -> None:
        kernels, bits = self._device.kernels, self._bits
        if self._tiles:
            for tile in self._tiles:
                self._enqueue_tile(tile, lumas[0], outs[0], state, following, stream)
            return
        for number, luma in enumerate(lumas):
            kernels.unpack(luma, self.luma[number, 0], bits=bits, stream=stream)
        self.lane.enqueue(self.luma, self.out, state, following, stream=stream.ptr)
        for number, out in enumerate(outs):
            kernels.pack(self.out[number, 0], out, bits=bits, stream=stream)

    def _enqueue_tile(self, tile: Tile, luma: DeviceArray, out: DeviceArray, state: Planes, following: Planes, stream: Stream) -> None:
        device, scale = self._device, self._engine.scale
        device.kernels.unpack(luma[tile.window], self.luma[0, 0], bits=self._bits, stream=stream)
        before, after = self._parts
        factors = [shape.scale for shape in self._engine.states]
        for whole, part, factor in zip(state, before, factors, strict=True):
            device.copy(whole[scaled(tile.window, factor)], part, stream)
        self.lane.enqueue(self.luma, self.out, before, after, stream=stream.ptr)
        sides = zip(tile.window, tile.kept, strict=True)
        inner = tuple(slice(kept.start - window.start, kept.stop - window.start) for window, kept in sides)
        device.kernels.pack(self.out[0, 0][scaled(inner, scale)], out[scaled(tile.kept, scale)], bits=self._bits, stream=stream)
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
