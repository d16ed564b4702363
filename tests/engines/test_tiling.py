"""Tiled is untiled, bit for bit: on real engines in all precisions, and on a model of one for many sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_model import make_network, write_model

from streamsr.engines import open_engine
from streamsr.engines.tiling import infer_tiled, max_pixels, plan_tiles, tile_shape
from streamsr.models import ModelSpec, load_spec


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return load_spec(write_model(make_network(), tmp_path_factory.mktemp("model")).with_suffix(".json"))


class Neighbourhood:
    """An engine by definition: every output pixel is a checksum of all input pixels within `radius`, zeros outside."""

    scale = 2

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self.shapes: set[tuple[int, ...]] = set()

    def infer(self, luma: np.ndarray, out: np.ndarray, state: tuple[np.ndarray, ...] = (), chroma: object = None) -> tuple[np.ndarray, ...]:
        self.shapes.add(luma.shape)
        rows, columns = luma.shape
        padded = np.pad(luma.astype(np.uint32), self.radius)
        total = np.zeros(luma.shape, np.uint32)
        for y in range(2 * self.radius + 1):
            for x in range(2 * self.radius + 1):
                total = total * 31 + padded[y : y + rows, x : x + columns]
        out[:] = np.kron(total, np.array([[1, 3], [5, 7]], np.uint32)).astype(out.dtype)
        return ()


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    radius=st.integers(0, 4),
    limit=st.integers(1, 5000),
    seed=st.integers(0, 9),
)
@settings(max_examples=80, deadline=None)
def test_tiles_see_what_the_whole_plane_sees(height: int, width: int, radius: int, limit: int, seed: int) -> None:
    luma = np.random.default_rng(seed).integers(0, 65536, (height, width)).astype(np.uint16)
    engine = Neighbourhood(radius)
    whole = np.empty((2 * height, 2 * width), np.uint16)
    engine.infer(luma, whole)
    engine.shapes.clear()
    tiled = np.zeros_like(whole)
    infer_tiled(engine, luma, tiled, radius=radius, limit=limit)
    np.testing.assert_array_equal(tiled, whole)
    assert engine.shapes == {tile_shape(height, width, radius=radius, limit=limit)}  # one shape: one compilation


@given(height=st.integers(1, 9000), width=st.integers(1, 17000), radius=st.integers(0, 24), limit=st.integers(10_000, 4_000_000))
@settings(max_examples=150, deadline=None)
def test_tiles_keep_to_the_limit_and_cover_everything_once(height: int, width: int, radius: int, limit: int) -> None:
    tiles = plan_tiles(height, width, radius=radius, limit=limit)
    kept = [tuple((side.start, side.stop) for side in tile.kept) for tile in tiles]
    rows, columns = (sorted({each[axis] for each in kept}) for axis in (0, 1))
    for pieces, length in ((rows, height), (columns, width)):  # from end to end, without a gap or an overlap
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == length
        assert all(start < stop for start, stop in pieces)
    assert sorted(kept) == list(itertools.product(rows, columns))
    for tile in tiles:  # with all that the network sees around it
        for inner, outer, length in zip(tile.kept, tile.window, (height, width), strict=True):
            assert 0 <= outer.start <= max(0, inner.start - radius)
            assert min(length, inner.stop + radius) <= outer.stop <= length
    rows, columns = tiles[0].window
    assert (rows.stop - rows.start) * (columns.stop - columns.start) <= max(limit, (4 * radius + 2) ** 2)


def test_unknown_radius_is_not_tiled() -> None:
    assert tile_shape(5000, 9000, radius=None, limit=1000) == (5000, 9000)


def test_480p_is_one_tile_and_full_hd_is_not(spec: ModelSpec) -> None:
    assert tile_shape(480, 854, radius=6, limit=max_pixels(spec)) == (480, 854)
    assert tile_shape(1080, 1920, radius=6, limit=max_pixels(spec)) != (1080, 1920)


def runnable() -> list[tuple[str, int, str]]:
    """(engine, bits, precision) that exist."""
    cases = [("openvino", bits, precision) for bits, precision in [(8, "f32"), (8, "bf16"), (8, "int8"), (10, "bf16"), (16, "f32")]]
    return [*cases, ("onnxruntime", 8, "int8"), ("onnxruntime", 16, "f32")]


@pytest.mark.parametrize(("engine", "bits", "precision"), runnable())
def test_tiled_equals_untiled_bit_for_bit(spec: ModelSpec, engine: str, bits: int, precision: str) -> None:
    pytest.importorskip(engine)
    try:
        opened = open_engine(spec, bits=bits, engine=engine, precision=precision, threads=1)  # type: ignore[arg-type]
    except Exception as error:
        pytest.skip(str(error))
    rng = np.random.default_rng(3)
    for height, width, limit in [(97, 131, 3000), (61, 300, 6000), (200, 37, 2500)]:
        luma = rng.integers(0, 1 << bits, (height, width)).astype(np.uint8 if bits == 8 else np.uint16)
        whole = np.empty((2 * height, 2 * width), luma.dtype)
        tiled = np.empty_like(whole)
        opened.infer(luma, whole)
        assert spec.receptive_field is not None
        infer_tiled(opened, luma, tiled, radius=spec.receptive_field, limit=limit)
        np.testing.assert_array_equal(tiled, whole)
