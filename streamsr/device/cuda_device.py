"""CudaDevice: streamsr.device.device.Device on CuPy.

Note [Two contexts]: CuPy, FFmpeg's decoder and NVENC all work in the primary context of the GPU, so their memory is one. FFmpeg
copies a decoded picture on the legacy default stream; ours are non-blocking and do not wait for that one by themselves, so
`import_surface` waits for it on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np

from ..engines.device_engine import CAPTURE, DeviceMemoryError
from ..errors import EngineError
from ..io.dlpack import NO_WAIT, Unstreamed
from .device import CaptureError, DeviceArray, Kernels
from .pinned_memory import PinnedMemory, open_pinned

INSTALL = "pip install 'streamsr[cuda12]', or 'streamsr[cuda13]' for CUDA 13"


class CudaDevice:
    """GPU number `index`, as CUDA counts them. Raises EngineError where CuPy is missing or the GPU does not start."""

    def __init__(self, index: int) -> None:
        try:
            import cupy
        except ImportError as error:
            raise EngineError("Frames on a GPU need CuPy, which is not installed.", hint=INSTALL) from error
        from .cupy_kernels import CupyKernels

        self._cupy = cupy
        self.name, self.index = f"cuda:{index}", index
        self._on = cupy.cuda.Device(index)
        self._failures = (cupy.cuda.runtime.CUDARuntimeError, cupy.cuda.driver.CUDADriverError)
        try:
            with self._on:
                cupy.cuda.runtime.free(0)  # starts the primary context
                self._pinned: PinnedMemory = open_pinned(index)
        except self._failures as error:
            raise EngineError(f"{self.name} does not start: {error}.", hint="see `nvidia-smi` and `streamsr doctor`") from error
        self.kernels: Kernels = CupyKernels(cupy, self._on)
        self._contexts: dict[int, av.video.frame.CudaContext] = {}

    def open_stream(self) -> Any:
        with self._on:
            return self._cupy.cuda.Stream(non_blocking=True)

    def record(self, stream: Any) -> Any:
        with self._on:
            event = self._cupy.cuda.Event(block=True, disable_timing=True)  # a host that waits leaves its core to the encoder
            event.record(stream)
            return event

    def wait(self, stream: Any, event: Any) -> None:
        with self._on:
            stream.wait_event(event)

    def is_past(self, event: Any) -> bool:
        return bool(event.done)

    def synchronise(self, event: Any) -> None:
        try:
            with self._on:
                event.synchronize()
        except self._failures as error:
            raise EngineError(f"{self.name} failed: {error}.", hint="see `nvidia-smi`; --device cpu does without it") from error

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        try:
            with self._on:
                return self._cupy.empty(shape, dtype)
        except self._cupy.cuda.memory.OutOfMemoryError as error:
            raise DeviceMemoryError(f"{self.name} has no room for {shape} of {dtype}: {error}") from error

    def pin(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        with self._on:
            return self._pinned.allocate(shape, dtype)

    def upload(self, host: np.ndarray, array: DeviceArray, stream: Any) -> None:
        with self._on:
            array.set(host, stream=stream)  # host is pinned and contiguous: CuPy copies it from there, without waiting

    def download(self, array: DeviceArray, host: np.ndarray, stream: Any) -> None:
        with self._on:
            array.get(stream=stream, out=host, blocking=False)

    def copy(self, source: DeviceArray, out: DeviceArray, stream: Any) -> None:
        with self._on, stream:
            self._cupy.copyto(out, source)

    def clear(self, array: DeviceArray, stream: Any) -> None:
        with self._on:
            array.data.memset_async(0, array.nbytes, stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        with CAPTURE, self._on:  # Note [Captures] of streamsr.engines.device_engine
            try:
                # relaxed: other threads (a decoder, a build) may allocate meanwhile
                stream.begin_capture(self._cupy.cuda.runtime.streamCaptureModeRelaxed)
                try:
                    work()
                finally:
                    graph = stream.end_capture()
                graph.upload(stream)
                return graph
            except self._failures as error:
                raise CaptureError(str(error)) from error

    def launch(self, graph: Any, stream: Any) -> None:
        try:
            with self._on:
                graph.launch(stream)
        except self._failures as error:
            if "OutOfMemory" in str(error) or "MemoryAllocation" in str(error):
                raise DeviceMemoryError(f"{self.name} has no room to launch a graph: {error}") from error
            raise EngineError(f"{self.name} failed: {error}.") from error

    def import_surface(self, video: av.VideoFrame) -> tuple[DeviceArray, ...]:
        with self._on:
            self._cupy.cuda.Stream.null.synchronize()  # Note [Two contexts]
            return tuple(self._cupy.from_dlpack(Unstreamed(plane)) for plane in video.planes)

    def export_surface(self, planes: Sequence[DeviceArray], pix_fmt: str) -> av.VideoFrame:
        context = self._contexts.setdefault(self.index, av.video.frame.CudaContext(self.index, primary_ctx=True))
        given = tuple(Unstreamed(plane, stream=NO_WAIT) for plane in planes)
        with self._on:
            return av.VideoFrame.from_dlpack(given, format=pix_fmt, cuda_context=context)

    def trim(self) -> None:
        with self._on:
            self._cupy.get_default_memory_pool().free_all_blocks()

    def memory(self) -> tuple[int, int]:
        with self._on:
            free, total = self._cupy.cuda.runtime.memGetInfo()
            return int(free), int(total)

    def close(self) -> None:
        self.trim()
