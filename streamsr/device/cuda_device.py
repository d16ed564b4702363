"""CudaDevice: streamsr.device.device.Device on CuPy.

Note [One context] of streamsr.gpu_context: CuPy, FFmpeg's decoder and NVENC all work in the primary context of the GPU. FFmpeg's
decoder writes a picture on the legacy default stream; ours are non-blocking and do not wait for that one by themselves, so
`import_surface` makes them wait, on the GPU.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import av
import numpy as np
from av.video.frame import CudaContext

from ..engines.device_engine import CAPTURE, DeviceMemoryError
from ..engines.failures import Failures
from ..engines.gpus import LEAST_CAPABILITY
from ..errors import EngineError
from ..gpu_context import claim_context, ffmpeg_device
from ..io.dlpack import NO_WAIT, Unstreamed
from .device import CaptureError, DeviceArray, Kernels
from .pinned_memory import PinnedMemory, open_pinned

make_cuda_frame = av.VideoFrame.from_dlpack
INSTALL = "pip install 'streamsr[cuda12]', or 'streamsr[cuda13]' for CUDA 13"


class CudaDevice:
    """GPU number `index`, as CUDA counts them. Raises EngineError where CuPy is missing or the GPU does not start."""

    def __init__(self, index: int) -> None:
        try:
            import cupy
        except ImportError as error:
            raise EngineError("Frames on a GPU need CuPy, which is not installed.", hint=INSTALL) from error
        from .cupy_kernels import CupyKernels

        claim_context(index)
        self._cupy = cupy
        self.name, self.index = f"cuda:{index}", index
        self._on = Failures(cupy, cupy.cuda.Device(index), self.name, INSTALL)
        self._context: CudaContext | None = None
        self.kernels: Kernels = CupyKernels(self._on, self.clear)
        with self._on:
            cupy.cuda.runtime.free(0)  # starts the primary context
            self._check_capability()
            self._pinned: PinnedMemory = open_pinned(index)
            self._try_kernel()

    def _check_capability(self) -> None:
        facts = self._cupy.cuda.runtime.getDeviceProperties(self.index)
        if (facts["major"], facts["minor"]) < LEAST_CAPABILITY:
            name = facts["name"].decode() if isinstance(facts["name"], bytes) else facts["name"]
            least = ".".join(map(str, LEAST_CAPABILITY))
            words = f"{self.name} ({name}) has compute capability {facts['major']}.{facts['minor']}; frames on a GPU need {least}."
            raise EngineError(words, hint="--device cpu does without it")

    def _try_kernel(self) -> None:
        """Compile one kernel now: what CuPy lacks for it is said before any frame has come."""
        stream, plane = self.open_stream(), self.allocate((2, 2), "uint8")
        self.clear(plane, stream)
        self.kernels.look(plane, plane, self.allocate((1, 1), "uint8"), self.allocate((1,), "int32"), step=(2, 2), stream=stream)
        self.synchronise(self.record(stream))

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
        with self._on:
            return bool(event.done)

    def synchronise(self, event: Any) -> None:
        with self._on:
            event.synchronize()

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        try:
            with self._on:
                return self._cupy.empty(shape, dtype)
        except DeviceMemoryError as error:
            raise DeviceMemoryError(f"{self.name} has no room for {shape} of {dtype}: {error.message}") from error

    def pin(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        with self._on:
            return self._pinned.allocate(shape, dtype)

    def upload(self, host: np.ndarray, array: DeviceArray, stream: Any) -> None:
        with self._on:
            array.set(host, stream=stream)  # host is pinned and contiguous: CuPy copies it from there, without waiting

    def download(self, array: DeviceArray, host: np.ndarray, stream: Any) -> None:
        with self._on:  # not CuPy's `get`, which wants rows without padding
            self._move(array, array.data.ptr, host, host.ctypes.data, self._cupy.cuda.runtime.memcpyDeviceToHost, stream)

    def copy(self, source: DeviceArray, out: DeviceArray, stream: Any) -> None:
        with self._on:
            if source.dtype != out.dtype:  # a state that goes over to another engine
                with stream:
                    self._cupy.copyto(out, source)
                return
            self._move(source, source.data.ptr, out, out.data.ptr, self._cupy.cuda.runtime.memcpyDeviceToDevice, stream)

    def _move(self, source: Any, begin: int, out: Any, target: int, kind: int, stream: Any) -> None:
        """Copy between arrays of one shape and type, by their addresses."""
        rows, row_bytes, pitches, places = find_sheets(source, out)
        for one, other in places:
            self._cupy.cuda.runtime.memcpy2DAsync(target + other, pitches[1], begin + one, pitches[0], row_bytes, rows, kind, stream.ptr)

    def clear(self, array: DeviceArray, stream: Any) -> None:
        with self._on:
            array.data.memset_async(0, array.nbytes, stream)

    def capture(self, stream: Any, work: Callable[[], None]) -> Any:
        with CAPTURE:  # Note [Captures] of streamsr.engines.device_engine
            try:
                with self._on:
                    # relaxed: other threads (a decoder, a build) may allocate meanwhile
                    stream.begin_capture(self._cupy.cuda.runtime.streamCaptureModeRelaxed)
                    try:
                        work()
                    finally:
                        graph = stream.end_capture()
                    graph.upload(stream)
                    return graph
            except DeviceMemoryError:
                raise
            except EngineError as error:
                raise CaptureError(error.message) from error

    def launch(self, graph: Any, stream: Any) -> None:
        with self._on:
            graph.launch(stream)

    def import_surface(self, video: av.VideoFrame, stream: Any) -> tuple[DeviceArray, ...]:
        with self._on:
            decoded = self._cupy.cuda.Event(disable_timing=True)
            decoded.record(self._cupy.cuda.Stream.null)
            stream.wait_event(decoded)
            return tuple(self._cupy.from_dlpack(Unstreamed(plane)) for plane in video.planes)

    def export_surface(self, planes: Sequence[DeviceArray], pix_fmt: str) -> av.VideoFrame:
        given = tuple(Unstreamed(plane, stream=NO_WAIT) for plane in planes)
        with self._on:
            if self._context is not None:
                return make_cuda_frame(given, format=pix_fmt, cuda_context=self._context)
            with ffmpeg_device(self.index) as options:  # which FFmpeg opens with the first frame
                context = CudaContext(
                    self.index, primary_ctx=options["primary_ctx"] == "1", current_ctx=options.get("current_ctx") == "1"
                )
                video = make_cuda_frame(given, format=pix_fmt, cuda_context=context)
            self._context = context
            return video

    def trim(self) -> None:
        with self._on:
            self._cupy.get_default_memory_pool().free_all_blocks()

    def memory(self) -> tuple[int, int]:
        with self._on:
            free, total = self._cupy.cuda.runtime.memGetInfo()
            return int(free), int(total)

    def close(self) -> None:
        self._context = None
        self.trim()


def find_sheets(source: Any, out: Any) -> tuple[int, int, tuple[int, int], list[tuple[int, int]]]:
    """Two arrays of one shape and type as pieces of rows at one distance, for copies in two dimensions.

    Returns (rows of a piece, bytes of a row, distance between rows in each array, where each piece begins in each array, in bytes).
    """
    shape, both, row_bytes = list(source.shape), [list(source.strides), list(out.strides)], source.dtype.itemsize
    while shape and (shape[-1] == 1 or all(strides[-1] == row_bytes for strides in both)):  # these lie side by side in both
        row_bytes *= shape.pop()
        for strides in both:
            strides.pop()
    rows = shape.pop() if shape else 1
    pitches = [strides.pop() if strides else row_bytes for strides in both]
    if not source.size:
        return 0, 0, (0, 0), []
    begins = [[sum(map(operator.mul, index, strides)) for index in np.ndindex(*shape)] for strides in both]
    return rows, row_bytes, (max(pitches[0], row_bytes), max(pitches[1], row_bytes)), list(zip(*begins, strict=True))
