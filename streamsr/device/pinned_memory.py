"""Host memory that a GPU reads and writes on its own: by pycuda where it is installed, else by CuPy."""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol

import numpy as np

from ..engines.device_engine import DeviceMemoryError


class PinnedMemory(Protocol):
    """Gives arrays whose memory is freed with them."""

    def allocate(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Raises DeviceMemoryError."""


class PycudaPinned:
    """Page-locked memory of pycuda, in the primary context of the GPU, which CuPy uses too."""

    def __init__(self, index: int) -> None:
        import pycuda.driver as driver

        driver.init()
        self._driver = driver
        self._context = driver.Device(index).retain_primary_context()

    def allocate(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        self._context.push()
        try:
            array: np.ndarray = self._driver.pagelocked_empty(shape, np.dtype(dtype))
            return array
        except self._driver.MemoryError as error:
            raise DeviceMemoryError(f"The system has no room for {shape} of {dtype} in pinned memory: {error}") from error
        finally:
            self._context.pop()


class CupyPinned:
    """Page-locked memory of CuPy, on the device that is current."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy

    def allocate(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        count = int(np.prod(shape))
        try:
            memory: Any = self._cupy.cuda.alloc_pinned_memory(count * np.dtype(dtype).itemsize)
        except self._cupy.cuda.runtime.CUDARuntimeError as error:
            raise DeviceMemoryError(f"The system has no room for {shape} of {dtype} in pinned memory: {error}") from error
        return np.frombuffer(memory, dtype, count).reshape(shape)


def open_pinned(index: int) -> PinnedMemory:
    """For GPU number `index`, which is current."""
    return PycudaPinned(index) if importlib.util.find_spec("pycuda") is not None else CupyPinned()
