"""Tiling: planes too large for memory go through the network in overlapping tiles, with the same result.

An output pixel sees `radius` input pixels on each side. A tile is computed with at least that much around the part
that is kept, and where it touches the edge of the plane it sees the same padding as the whole plane would. All tiles
of a plane have one shape, so an engine compiles once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamsr.engines.engine import Chroma, Engine, State
from streamsr.models import ModelSpec

# for activations of one plane, by the estimate below: 854x480 x2 with 16 channels takes 79 MB and stays whole
ACTIVATION_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows and columns of the input: `window` is computed, `kept` (inside it) is used."""

    window: tuple[slice, slice]
    kept: tuple[slice, slice]


def max_pixels(spec: ModelSpec) -> int:
    """The most input pixels to run at once: float32 input and output of a layer, and four planes of the output."""
    return ACTIVATION_BYTES // (4 * (2 * spec.channels + 4 * spec.scale**2))


def cut(length: int, parts: int, radius: int) -> list[tuple[slice, slice]]:
    """Cut an axis in at most `parts`: [(window, kept)], all windows of one length, the kept ones touching and covering all."""
    step = -(-length // parts)
    size = min(step + 2 * radius, length)
    pieces: list[tuple[slice, slice]] = []
    for start in range(0, length, step):
        first = min(max(start - radius, 0), length - size)
        pieces.append((slice(first, first + size), slice(start, min(start + step, length))))
    return pieces


def plan_tiles(height: int, width: int, *, radius: int, limit: int) -> list[Tile]:
    """Tiles with the fewest computed pixels whose windows have at most `limit` pixels each.

    A limit below (4 * radius + 2)**2 counts as that: smaller tiles would be nearly all margin.
    """
    if height * width <= limit:
        return [Tile((slice(0, height), slice(0, width)), (slice(0, height), slice(0, width)))]
    useful = 4 * radius + 2
    limit = max(limit, useful**2)
    best: tuple[int, list[tuple[slice, slice]], list[tuple[slice, slice]]] | None = None
    for num_columns in range(1, width + 1):
        columns = cut(width, num_columns, radius)
        window_width = columns[0][0].stop
        rows = cut(height, -(-height // max(limit // window_width - 2 * radius, 1)), radius)
        cost = len(rows) * len(columns) * window_width * rows[0][0].stop
        if window_width * rows[0][0].stop <= limit and (best is None or cost < best[0]):
            best = cost, rows, columns
        if window_width <= useful or (best is not None and len(columns) * window_width * height > best[0]):
            break  # narrower tiles only compute more
    assert best is not None, f"no tiles of {limit} pixels for {width}x{height}"
    _, rows, columns = best
    return [Tile((row, column), (kept_row, kept_column)) for row, kept_row in rows for column, kept_column in columns]


def infer_tiled(
    engine: Engine, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None, *, radius: int | None, limit: int
) -> State:
    """`engine.infer`, in tiles where `luma` has more than `limit` pixels and the radius is known.

    luma: (h, w); out: (scale * h, scale * w); state: that of the whole plane, as in `Engine.infer`. Each tile reads its
    window of the old state and writes its kept part of the new one, which is exact as the radius holds for both.
    """
    tiles = list(_tiles_for(luma.shape, radius, limit))
    if len(tiles) == 1:
        return engine.infer(luma, out, state, chroma)
    s = engine.scale
    buffer = None
    following = tuple(np.empty_like(array) for array in state)
    scales = [array.shape[1] // luma.shape[0] for array in state]
    for tile in tiles:
        source = luma[tile.window]
        if buffer is None:
            buffer = np.empty((source.shape[0] * s, source.shape[1] * s), out.dtype)
        part_of = None
        if chroma is not None:
            window = chroma.samples[_scaled(tile.window, 1)]
            part_of = Chroma(window, np.empty_like(window), chroma.condition)
        parts = engine.infer(
            source, buffer, tuple(array[_scaled(tile.window, k)] for array, k in zip(state, scales, strict=True)), part_of
        )
        sides = zip(tile.window, tile.kept, strict=True)
        inner = tuple(slice(kept.start - window.start, kept.stop - window.start) for window, kept in sides)
        for whole, part, k in zip((out, *following), (buffer, *parts), (s, *scales), strict=True):
            np.copyto(whole[_scaled(tile.kept, k)], part[_scaled(inner, k)])
        if chroma is not None and part_of is not None:
            np.copyto(chroma.out[_scaled(tile.kept, 1)], part_of.out[_scaled(inner, 1)])
    return following


def tile_shape(height: int, width: int, *, radius: int | None, limit: int) -> tuple[int, int]:
    """(height, width) that the engine will see for a plane of this size."""
    rows, columns = next(_tiles_for((height, width), radius, limit)).window
    return rows.stop - rows.start, columns.stop - columns.start


def _scaled(place: tuple[slice, ...], scale: int) -> tuple[Any, ...]:
    """Rows and columns (the last two axes) at `scale` times the size."""
    return (..., *(slice(part.start * scale, part.stop * scale) for part in place))


def _tiles_for(shape: tuple[int, ...], radius: int | None, limit: int) -> Iterator[Tile]:
    height, width = shape
    return iter(plan_tiles(height, width, radius=radius or 0, limit=limit if radius is not None else height * width))
