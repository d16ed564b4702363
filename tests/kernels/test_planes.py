"""Codes <-> levels: the kernel against NumPy, and NumPy against the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import streamsr_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from on_host import HostDevice
from streamsr_kernels import planes_reference

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


def dtype_of(bits: int) -> Any:
    return np.uint8 if bits == 8 else np.uint16


@given(
    bits=st.sampled_from([8, 9, 10, 12, 14, 16]), size=st.tuples(st.integers(1, 70), st.integers(1, 21)),
    more=st.tuples(st.integers(0, 17), st.integers(0, 9)), layout=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    dtype=st.sampled_from([np.float16, np.float32]), seed=st.integers(0, 99),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_unpack_and_pack_agree_with_numpy(host: HostDevice, bits: int, size: Any, more: Any, layout: Any, dtype: Any, seed: int) -> None:
    rng, (width, height), (padding, offset) = np.random.default_rng(seed), size, layout
    plane = padded((height, width), dtype_of(bits), padding=padding, offset=offset)
    plane[:] = rng.integers(0, 1 << bits, plane.shape)
    levels, memory = padded_memory((height + more[1], width + more[0]), dtype, padding=padding, offset=offset)
    wanted = np.empty_like(levels)
    streamsr_kernels.unpack(plane, levels, bits=bits)
    planes_reference.unpack(plane, wanted, bits=bits)
    np.testing.assert_array_equal(levels, wanted)
    assert is_kept_outside(levels, memory)
    levels[:] = wanted.astype(np.float32) + rng.uniform(-0.2, 0.2, wanted.shape)
    levels.flat[0] = np.nan
    codes, memory = padded_memory(plane.shape, plane.dtype, padding=padding, offset=offset)
    expected = np.empty_like(plane)
    streamsr_kernels.pack(levels[:height, :width], codes, bits=bits)
    planes_reference.pack(levels[:height, :width], expected, bits=bits)
    np.testing.assert_array_equal(codes, expected)
    assert is_kept_outside(codes, memory)


@pytest.mark.parametrize("bits", [8, 10])
def test_every_code_survives_half_precision(host: HostDevice, bits: int) -> None:
    codes = np.arange(1 << bits, dtype=dtype_of(bits)).reshape(-1, 32)
    levels, back = np.zeros(codes.shape, np.float16), np.zeros_like(codes)
    streamsr_kernels.unpack(codes, levels, bits=bits)
    streamsr_kernels.pack(levels, back, bits=bits)
    np.testing.assert_array_equal(back, codes)


def test_levels_are_codes_over_the_largest_code(host: HostDevice) -> None:
    codes, levels = np.array([[0, 16, 128, 235, 255]], np.uint8), np.zeros((1, 5), np.float16)
    streamsr_kernels.unpack(codes, levels, bits=8)
    np.testing.assert_array_equal(levels, (codes / 255).astype(np.float16))


@pytest.mark.parametrize(
    ("plane", "levels", "bits", "error", "words"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float16), 7, ValueError, "bits is 7"),
        (np.zeros((4, 4), np.uint16), np.zeros((4, 4), np.float16), 8, TypeError, "plane is uint16"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4)), 8, TypeError, "float64"),
        (np.zeros((4, 4, 1), np.uint8), np.zeros((4, 4), np.float16), 8, ValueError, r"\(4, 4, 1\)"),
        (np.zeros((4, 8), np.uint8)[:, ::2], np.zeros((4, 4), np.float16), 8, ValueError, "side by side"),
        (np.zeros((4, 8), np.uint8)[::-1], np.zeros((4, 8), np.float16), 8, ValueError, "positive"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 3), np.float16), 8, ValueError, r"\(4, 3\)"),
    ],
)
def test_what_cannot_be_is_refused(
    host: HostDevice, plane: np.ndarray, levels: np.ndarray, bits: int, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        streamsr_kernels.unpack(plane, levels, bits=bits)
    with pytest.raises(error, match=words):
        streamsr_kernels.pack(levels, plane, bits=bits)
    assert not host.launched


@pytest.mark.gpu
@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("size", [(1920, 1080), (161, 121)])
def test_gpu_agrees_with_numpy(cupy: Any, bits: int, size: tuple[int, int]) -> None:
    width, height = size
    plane = np.random.default_rng(1).integers(0, 1 << bits, (height, width)).astype(dtype_of(bits))
    wanted, expected = np.zeros((height + 3, width + 5), np.float16), np.zeros_like(plane)
    planes_reference.unpack(plane, wanted, bits=bits)
    planes_reference.pack(wanted[:height, :width], expected, bits=bits)
    on_device, levels, codes = cupy.asarray(plane), cupy.asarray(np.zeros_like(wanted)), cupy.asarray(np.zeros_like(plane))
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    streamsr_kernels.unpack(on_device, levels, bits=bits, stream=stream)
    streamsr_kernels.pack(levels[:height, :width], codes, bits=bits, stream=stream.ptr)
    stream.synchronize()
    np.testing.assert_array_equal(cupy.asnumpy(levels), wanted)
    np.testing.assert_array_equal(cupy.asnumpy(codes), expected)
