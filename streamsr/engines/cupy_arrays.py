"""What the engines need of an array library on a GPU. CuPy has it; tests put NumPy in its place."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from streamsr.engines.device_engine import DeviceArray, DeviceMemoryError, DType
from streamsr.engines.failures import Failures
from streamsr.errors import EngineError
from streamsr.gpu_context import claim_context

INSTALL_CUPY = "pip install 'streamsr[cuda12]', or 'streamsr[cuda13]' for CUDA 13"


class Arrays(Protocol):
    """Arrays of one device. All work goes to the stream that is given, a cudaStream_t as an integer."""

    def current(self) -> AbstractContextManager[Any]:
        """Makes the device the one that this thread's CUDA calls are for, TensorRT's among them."""

    def open_stream(self) -> int:
        """A stream that waits for no other one. It stays until the process ends."""

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> DeviceArray:
        """A new array; the zeros are there when this returns. Raises DeviceMemoryError."""

    def upload(self, host: np.ndarray, array: DeviceArray, factor: float, *, stream: int) -> None:
        """array[:] = host * factor in the array's type. `host` may be changed once this returns."""

    def codes(self, array: DeviceArray, max_code: int, sample: np.dtype, *, stream: int) -> np.ndarray:
        """The array x max_code, rounded half to even and clipped, as samples on the host; waits for the stream."""

    def download(self, array: DeviceArray, *, stream: int) -> np.ndarray:
        """The array as float32 on the host; waits for the stream."""


class CupyArrays:
    """Implements `Arrays` on one CUDA device. Raises EngineError where CuPy is missing or does not start."""

    def __init__(self, index: int) -> None:
        try:
            import cupy
        except ImportError as error:
            raise EngineError("TensorRT needs CuPy, which is not installed.", hint=INSTALL_CUPY) from error
        claim_context(index)
        self._cupy, self._index = cupy, index
        self._on_gpu = Failures(cupy, cupy.cuda.Device(index), f"cuda:{index}", INSTALL_CUPY)
        self._streams: dict[int, Any] = {}

    def current(self) -> AbstractContextManager[Any]:
        return self._on_gpu

    def open_stream(self) -> int:
        with self.current():
            stream = self._cupy.cuda.Stream(non_blocking=True)
        self._streams[stream.ptr] = stream
        return int(stream.ptr)

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> DeviceArray:
        try:
            with self.current():
                array = self._cupy.empty(shape, dtype)
                array.data.memset(0, array.nbytes)
                self._cupy.cuda.get_current_stream().synchronize()
                return array
        except DeviceMemoryError as error:
            raise DeviceMemoryError(f"cuda:{self._index} has no room for {shape} {dtype}: {error.message}") from error

    def upload(self, host: np.ndarray, array: DeviceArray, factor: float, *, stream: int) -> None:
        with self.current(), self._on(stream):
            given = self._cupy.asarray(host)  # through pageable memory: done with `host` when it returns
            self._cupy.copyto(array, given.astype(np.float32) * np.float32(factor), casting="unsafe")

    def codes(self, array: DeviceArray, max_code: int, sample: np.dtype, *, stream: int) -> np.ndarray:
        with self.current(), self._on(stream):
            scaled = array.astype(np.float32) * np.float32(max_code)
            rounded = self._cupy.clip(self._cupy.rint(scaled), 0, max_code).astype(sample)
            return np.asarray(rounded.get())

    def download(self, array: DeviceArray, *, stream: int) -> np.ndarray:
        with self.current(), self._on(stream):
            return np.asarray(array.astype(np.float32).get())

    def _on(self, stream: int) -> Any:
        return self._cupy.cuda.ExternalStream(stream)
