"""Codes that move as they are: the kernels against NumPy, with rows that are padded and begin anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import streamsr_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from on_host import HostDevice
from streamsr_kernels import samples_reference
from test_planes import is_kept_outside, padded_memory

SIZES = st.tuples(st.integers(1, 70), st.integers(1, 21))
LAYOUTS = st.tuples(st.integers(0, 9), st.integers(0, 7))


def random_plane(shape: tuple[int, ...], dtype: Any, rng: np.random.Generator, layout: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    plane, memory = padded_memory(shape, dtype, padding=layout[0], offset=layout[1])
    plane[:] = rng.integers(0, np.iinfo(dtype).max + 1, shape)
    return plane, memory


@given(size=SIZES, dtype=st.sampled_from([np.uint8, np.uint16]), layout=LAYOUTS, seed=st.integers(0, 99), shift=st.sampled_from([0, 6]))
@settings(deadline=None, max_examples=40)
def test_surfaces_are_taken_apart_and_put_together(host: HostDevice, size: Any, dtype: Any, layout: Any, seed: int, shift: int) -> None:
    rng, (width, height) = np.random.default_rng(seed), size
    shift = 0 if dtype == np.uint8 else shift
    chroma = (-(-height // 2), -(-width // 2))
    surface = [random_plane(shape, dtype, rng, layout)[0] for shape in ((height, width), (*chroma, 2))]
    made = [random_plane(shape, dtype, rng, layout) for shape in ((height, width), chroma, chroma)]
    planes = [plane for plane, _ in made]
    wanted = [plane.copy() for plane in planes]
    streamsr_kernels.split_surface(surface, planes, shift=shift)
    samples_reference.split_surface(surface, wanted, shift=shift)
    for (plane, memory), other in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(plane, other)
        assert is_kept_outside(plane, memory)
    back = [random_plane(plane.shape, dtype, rng, layout) for plane in surface]
    streamsr_kernels.join_surface(planes, [plane for plane, _ in back], shift=shift)
    for (plane, memory), other in zip(back, surface, strict=True):
        np.testing.assert_array_equal(plane, other >> shift << shift)
        assert is_kept_outside(plane, memory)


@given(size=SIZES, dtype=st.sampled_from([np.uint8, np.uint16]), layout=LAYOUTS, seed=st.integers(0, 99),
       step=st.tuples(st.integers(1, 5), st.integers(1, 9)), where=st.one_of(st.none(), st.integers(0, 70 * 21)))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_one_sample_that_differs_anywhere_is_seen(
    host: HostDevice, size: Any, dtype: Any, layout: Any, seed: int, step: Any, where: int | None
) -> None:
    rng, (width, height) = np.random.default_rng(seed), size
    plane, _ = random_plane((height, width), dtype, rng, layout)
    before, memory = padded_memory((height, width), dtype, padding=layout[1], offset=layout[0])
    before[:] = plane
    if where is not None:
        before[where // width % height, where % width] ^= 1
    samples, differs = np.zeros((-(-height // step[0]), -(-width // step[1])), dtype), np.zeros(1, np.int32)
    streamsr_kernels.compare_planes(plane, before, samples, differs, step=step)
    assert differs[0] == (where is not None)
    np.testing.assert_array_equal(before, plane)
    np.testing.assert_array_equal(samples, plane[:: step[0], :: step[1]])
    assert is_kept_outside(before, memory)


def test_the_whole_grid_compares(host: HostDevice) -> None:
    """Not one block, as a reduction of CuPy's that fits into one: a large picture takes as many as there are."""
    plane = np.zeros((256, 2048), np.uint8)
    streamsr_kernels.compare_planes(plane, plane.copy(), np.zeros((1, 1), np.uint8), np.zeros(1, np.int32), step=(256, 2048))
    assert host.launched[-1][1] == (8, 32, 1)


def test_what_cannot_be_is_named(host: HostDevice) -> None:
    plane = np.zeros((4, 6), np.uint8)
    with pytest.raises(ValueError, match=r"surface\[1\] has shape"):
        streamsr_kernels.split_surface([plane, np.zeros((2, 3), np.uint8)], [plane, np.zeros((2, 3), np.uint8), np.zeros((2, 3), np.uint8)])
    with pytest.raises(TypeError, match="float32"):
        streamsr_kernels.compare_planes(plane.astype(np.float32), plane, plane, np.zeros(1, np.int32), step=(1, 1))


@pytest.mark.gpu
def test_gpu_compares_and_moves(cupy: Any) -> None:
    rng = np.random.default_rng(3)
    surface = [rng.integers(0, 256, shape).astype(np.uint8) for shape in ((54, 96), (27, 48, 2))]
    given = [cupy.asarray(plane) for plane in surface]
    planes = [cupy.zeros(shape, np.uint8) for shape in ((54, 96), (27, 48), (27, 48))]
    streamsr_kernels.split_surface(given, planes)
    back = [cupy.zeros_like(plane) for plane in given]
    streamsr_kernels.join_surface(planes, back)
    for plane, other in zip(back, surface, strict=True):
        np.testing.assert_array_equal(cupy.asnumpy(plane), other)
    before, samples, differs = cupy.zeros((54, 96), np.uint8), cupy.zeros((6, 12), np.uint8), cupy.zeros(1, np.int32)
    for expected in (1, 0):
        differs[...] = 0
        streamsr_kernels.compare_planes(planes[0], before, samples, differs, step=(9, 8))
        assert int(differs[0]) == expected
    np.testing.assert_array_equal(cupy.asnumpy(samples), surface[0][::9, ::8])
