"""Chroma between grids, against the places that ITU-T H.273 gives its samples."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from streamsr_kernels import Filter

from streamsr.frame import find_layout
from streamsr.upscaling.chroma_grid import Axis, ChromaResampler, Grid, grid_of, network_grid

SITES = {"left": (0.5, 0.0), "center": (0.5, 0.5), "topleft": (0.0, 0.0), "bottom": (1.0, 0.5)}  # rows, columns in luma pixels


def layout_grid(pix_fmt: str, location: str) -> Grid:
    layout = find_layout(pix_fmt)
    assert layout is not None
    return grid_of(layout, location)


@pytest.mark.parametrize("location", SITES)
def test_network_grid_at_x2_is_where_the_result_has_its_chroma(location: str) -> None:
    own = layout_grid("yuv420p", location)
    grid = network_grid(own, 2)
    assert [axis.enlarged(2) for axis in grid] == [Axis(place, 2) for place in SITES[location]]
    assert list(own) == [Axis(place, 2) for place in SITES[location]]


def test_network_grid_is_lumas_elsewhere() -> None:
    luma = (Axis(0, 1), Axis(0, 1))
    assert network_grid(layout_grid("yuv444p", "left"), 2) == luma
    assert network_grid(layout_grid("yuv420p", "left"), 3) == luma
    assert network_grid(layout_grid("yuv422p", "left"), 2) == (Axis(0, 1), Axis(-0.25, 1))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("location", SITES)
@pytest.mark.parametrize("kernel", get_args(Filter))
def test_chroma_is_brought_to_the_grid(location: str, bits: int, kernel: Filter) -> None:
    chroma = np.random.default_rng(0).integers(1 << (bits - 2), 3 << (bits - 2), (2, 20, 31)).astype(np.uint8 if bits == 8 else np.uint16)
    own = layout_grid("yuv420p10le", location)
    grid = network_grid(own, 2)
    got = ChromaResampler(kernel)(chroma, own, grid, (39, 61), bits=bits)
    down, across = (
        weights_of(kernel, (grid[axis].first + np.arange(n) - own[axis].first) / 2, chroma.shape[1 + axis])
        for axis, n in ((0, 39), (1, 61))
    )
    error = np.abs(got - down @ chroma @ across.T) / (1 << bits)
    assert error.max() < (0.6 if kernel == "linear" else 3) / 256  # of noise: of Lanczos swscale leaves out taps that sum to 0.002
    assert error.mean() < 0.4 / 256


def weights_of(kernel: Filter, places: np.ndarray, size: int) -> np.ndarray:
    """(len(places), size): of the samples of a line at these places, the edges repeated."""
    matrix = np.zeros((len(places), size))
    for row, place in enumerate(places):
        taps = int(np.floor(place)) + np.arange(-2, 4)
        distance = place - taps
        weights = np.maximum(1 - np.abs(distance), 0) if kernel == "linear" else np.sinc(distance) * np.sinc(distance / 3)
        np.add.at(matrix[row], np.clip(taps, 0, size - 1), weights / weights.sum())
    return matrix


@pytest.mark.parametrize("factor", [2, 3, 4, 1.5])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
def test_result_has_a_smooth_picture_in_its_place(pix_fmt: str, factor: float) -> None:
    """A slow wave sampled on the network's grid of 71x60 pixels, and on the result's, odd sizes and all."""
    own = layout_grid(pix_fmt, "left")
    grid = network_grid(own, 2 if factor == 2 else 3)
    sides = [60, 71]
    whole = [int(side * factor + 0.5) + int(side * factor + 0.5) % 2 for side in sides]
    factors = [factor if factor == int(factor) else large / side for large, side in zip(whole, sides, strict=True)]

    def wave(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        y, x = np.meshgrid(rows, columns, indexing="ij")
        return np.asarray(128 + 80 * np.sin(0.11 * y + 0.3) * np.cos(0.07 * x))

    source = np.rint(wave(*(axis.first + np.arange(side) for axis, side in zip(grid, sides, strict=True)))).astype(np.uint8)
    size = tuple(-(-large // int(axis.step)) for large, axis in zip(whole, own, strict=True))
    enlarged = (grid[0].enlarged(factors[0]), grid[1].enlarged(factors[1]))
    got = ChromaResampler()(np.stack([source, source]), enlarged, own, (size[0], size[1]), bits=8)
    places = [(axis.first + axis.step * np.arange(n) + 0.5) / f - 0.5 for axis, n, f in zip(own, size, factors, strict=True)]
    error = np.abs(got - wave(*places))[:, 6:-6, 6:-6]
    assert error.max() < 1.6  # two roundings to codes, and a kernel of six taps; a quarter of a pixel away it would be 3
    assert error.mean() < 0.4
