"""Surfaces <-> planes: the kernel against NumPy, and NumPy against the contract and FFmpeg."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
import streamsr_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from on_host import HostDevice
from streamsr_kernels import find_surface, planes_reference

FORMATS = [
    "nv12", "nv16", "p010le", "p012", "p016", "p210le", "p416", "yuv420p", "yuv422p", "yuv444p", "yuv420p9", "yuv420p10le", "yuv422p12le",
    "yuv444p14", "yuv444p16le", "yuv444p10msble",
]  # fmt: skip
GUARD = 0xA5  # fills the padding of rows, which has to stay as it is


def padded(shape: tuple[int, ...], dtype: Any, *, padding: int = 0, offset: int = 0) -> np.ndarray:
    """An array whose rows are `padding` elements longer than they look, `offset` elements into memory that is 16 bytes aligned."""
    return padded_memory(shape, dtype, padding=padding, offset=offset)[0]


def padded_memory(shape: tuple[int, ...], dtype: Any, *, padding: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """The array, and all the bytes that it is cut from."""
    itemsize = np.dtype(dtype).itemsize
    pitch = (int(np.prod(shape[1:])) + padding) * itemsize
    memory = np.full(shape[0] * pitch + offset * itemsize + 64, GUARD, np.uint8)
    start = -memory.ctypes.data % 16 + offset * itemsize
    inner = [itemsize * int(np.prod(shape[axis + 1 :])) for axis in range(1, len(shape))]
    return np.ndarray(shape, dtype, memory, start, (pitch, *inner)), memory


def is_kept_outside(array: np.ndarray, memory: np.ndarray) -> bool:
    """Whether nothing but the array's own elements was written."""
    inside = np.zeros(memory.shape, bool)
    start = array.ctypes.data - memory.ctypes.data
    for row in range(array.shape[0]):
        inside[start + row * array.strides[0] :][: array[0].nbytes] = True
    return bool((memory[~inside] == GUARD).all())


def random_surface(pix_fmt: str, width: int, height: int, rng: np.random.Generator, **layout: int) -> list[np.ndarray]:
    surface = find_surface(pix_fmt)
    planes = []
    for shape in surface.plane_shapes(width, height):
        plane = padded(shape, surface.dtype, **layout)
        # low bits that no code uses hold what they like: decoders leave them undefined
        plane[:] = rng.integers(0, 1 << 16 if surface.shift else surface.max_code + 1, shape)
        planes.append(plane)
    return planes


@given(
    pix_fmt=st.sampled_from(FORMATS),
    size=st.tuples(st.integers(1, 70), st.integers(1, 21)),
    padding=st.integers(0, 9),
    offset=st.integers(0, 9),
    dtype=st.sampled_from([np.float16, np.float32]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_unpack_and_pack_agree_with_numpy(
    host: HostDevice, pix_fmt: str, size: tuple[int, int], padding: int, offset: int, dtype: Any, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    surface = random_surface(pix_fmt, *size, rng, padding=padding, offset=offset)
    expected = planes_reference.unpack(surface, pix_fmt, dtype)
    levels = [padded(plane.shape, dtype, padding=padding, offset=offset) for plane in expected]
    streamsr_kernels.unpack(surface, pix_fmt, out=levels)
    for plane, wanted in zip(levels, expected, strict=True):
        np.testing.assert_array_equal(plane, wanted)
    for plane, wanted in zip(levels, expected, strict=True):
        plane[:] = wanted.astype(np.float32) + rng.uniform(-0.2, 0.2, wanted.shape)
        plane.flat[0] = np.nan
    codes = [padded_memory(plane.shape, plane.dtype, padding=padding, offset=offset) for plane in surface]
    streamsr_kernels.pack(levels, pix_fmt, out=[plane for plane, _ in codes])
    for (plane, memory), wanted in zip(codes, planes_reference.pack(levels, pix_fmt), strict=True):
        np.testing.assert_array_equal(plane, wanted)
        assert is_kept_outside(plane, memory)


@pytest.mark.parametrize("pix_fmt", ["nv12", "p010le", "yuv420p", "yuv422p10le", "yuv444p"])
def test_every_code_survives_half_precision(host: HostDevice, pix_fmt: str) -> None:
    surface = find_surface(pix_fmt)
    codes = np.arange(surface.max_code + 1, dtype=surface.dtype).reshape(-1, 32) << surface.shift
    chroma = [np.zeros(shape, surface.dtype) for shape in surface.plane_shapes(32, len(codes))[1:]]
    levels = streamsr_kernels.unpack([codes, *chroma], pix_fmt)
    assert [plane.dtype for plane in levels] == [np.float16] * 3
    np.testing.assert_array_equal(streamsr_kernels.pack(levels, pix_fmt)[0], codes)


def test_levels_are_codes_over_the_largest_code(host: HostDevice) -> None:
    codes = np.array([[0, 16, 128, 235, 255]], np.uint8)
    (level,) = streamsr_kernels.unpack([codes], "nv12")
    np.testing.assert_array_equal(level, (np.array([[0, 16, 128, 235, 255]]) / 255).astype(np.float16))


@pytest.mark.parametrize(("semi_planar", "planar"), [("nv12", "yuv420p"), ("p010le", "yuv420p10le"), ("p210le", "yuv422p10le")])
def test_chroma_is_taken_apart_as_ffmpeg_does(host: HostDevice, semi_planar: str, planar: str) -> None:
    width, height = 38, 22
    rng = np.random.default_rng(3)
    surface = find_surface(planar)
    planes = [rng.integers(0, surface.max_code + 1, shape).astype(surface.dtype) for shape in surface.plane_shapes(width, height)]
    video = av.VideoFrame(width, height, planar)
    for plane, codes in zip(video.planes, planes, strict=True):
        np.frombuffer(plane, surface.dtype).reshape(len(codes), -1)[:, : codes.shape[1]] = codes
    packed = video.reformat(format=semi_planar)
    given_planes = []
    for plane, shape in zip(packed.planes, find_surface(semi_planar).plane_shapes(width, height), strict=True):
        rows = np.frombuffer(plane, surface.dtype).reshape(shape[0], -1)[:, : int(np.prod(shape[1:]))]
        given_planes.append(np.ascontiguousarray(rows).reshape(shape))
    levels = streamsr_kernels.unpack(given_planes, semi_planar)
    for level, codes in zip(levels, planes, strict=True):
        np.testing.assert_array_equal(np.rint(level.astype(np.float32) * surface.max_code), codes)
    for ours, theirs in zip(streamsr_kernels.pack(levels, semi_planar), given_planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_leading_ones_are_the_networks_own_shape(host: HostDevice) -> None:
    luma = np.arange(60, dtype=np.uint8).reshape(6, 10)
    out = np.zeros((1, 1, 6, 10), np.float16)
    streamsr_kernels.unpack([luma], "yuv420p", out=[out])
    np.testing.assert_array_equal(streamsr_kernels.pack([out], "yuv420p")[0], luma)


@pytest.mark.parametrize(
    ("surface", "pix_fmt", "error", "words"),
    [
        ([np.zeros((4, 4), np.uint8)], "rgb24", ValueError, "rgb24"),
        ([np.zeros((4, 4), np.uint16)], "nv12", TypeError, "uint16"),
        ([np.zeros((4, 4), np.uint8), np.zeros((2, 4), np.uint8)], "nv12", ValueError, r"\(2, 2, 2\)"),
        ([np.zeros((4, 4), np.uint8)] * 2, "yuv420p", ValueError, "3 planes"),
        ([np.zeros((4, 8), np.uint8)[:, ::2]], "nv12", ValueError, "side by side"),
        ([np.zeros((4, 8), np.uint8)[::-1]], "nv12", ValueError, "positive"),
    ],
)
def test_wrong_surfaces_are_refused(host: HostDevice, surface: list[np.ndarray], pix_fmt: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        streamsr_kernels.unpack(surface, pix_fmt)
    assert not host.launched


def test_wrong_levels_are_refused(host: HostDevice) -> None:
    with pytest.raises(TypeError, match="float64"):
        streamsr_kernels.pack([np.zeros((4, 4))], "nv12")
    with pytest.raises(ValueError, match="2 arrays"):
        streamsr_kernels.pack([np.zeros((4, 4), np.float16)] * 2, "nv12")
    with pytest.raises(ValueError, match="2, 2"):
        streamsr_kernels.pack([np.zeros((4, 4), np.float16)] * 3, "yuv420p")


@pytest.mark.gpu
@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("size", [(1920, 1080), (161, 121)])
def test_gpu_agrees_with_numpy(cupy: Any, pix_fmt: str, size: tuple[int, int]) -> None:
    surface = random_surface(pix_fmt, *size, np.random.default_rng(1))
    expected = planes_reference.unpack(surface, pix_fmt)
    stream = cupy.cuda.Stream(non_blocking=True)
    on_device = [cupy.asarray(plane) for plane in surface]
    cupy.cuda.get_current_stream().synchronize()
    levels = streamsr_kernels.unpack(on_device, pix_fmt, stream=stream)
    codes = streamsr_kernels.pack(levels, pix_fmt, stream=stream.ptr)
    stream.synchronize()
    for plane, wanted in zip(levels, expected, strict=True):
        np.testing.assert_array_equal(cupy.asnumpy(plane), wanted)
    for plane, wanted in zip(codes, planes_reference.pack(expected, pix_fmt), strict=True):
        np.testing.assert_array_equal(cupy.asnumpy(plane), wanted)
