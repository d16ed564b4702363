"""Stands for CuPy as far as `streamsr.device.cuda_device` uses it, on simulated GPUs: with it that file runs as it is.

It raises what CuPy raises, takes what CuPy takes, and holds the caller to the device that is current. `FACE` says what of CuPy is used;
tests/device/test_cuda_device.py compares it with CuPy itself where that is installed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np
from driver import Driver
from sim_memory import Pool, SimArray, bare
from simulation import SimDevice, SimEvent, SimGraph, SimStream

from streamsr.device.device import CaptureError
from streamsr.engines.device_engine import DeviceMemoryError

# what streamsr.device.cuda_device calls, by CuPy's names, with the keywords that it gives
FACE = {
    "empty": (), "from_dlpack": (), "copyto": (), "get_default_memory_pool": (), "cuda.Device": (),
    "cuda.Event": ("block", "disable_timing"),
    "cuda.Stream": ("non_blocking",), "cuda.Stream.null": (), "cuda.Stream.wait_event": (), "cuda.Stream.begin_capture": (),
    "cuda.Stream.end_capture": (), "cuda.Event.record": (), "cuda.Event.synchronize": (), "cuda.Event.done": (), "cuda.Graph.launch": (),
    "cuda.Graph.upload": (), "cuda.runtime.free": (), "cuda.runtime.memGetInfo": (), "cuda.runtime.getDeviceProperties": (),
    "cuda.runtime.memcpy2DAsync": (), "cuda.runtime.memcpyDeviceToDevice": (), "cuda.runtime.memcpyDeviceToHost": (),
    "cuda.runtime.streamCaptureModeRelaxed": (), "cuda.runtime.CUDARuntimeError": (), "cuda.driver.CUDADriverError": (),
    "cuda.memory.OutOfMemoryError": (), "cuda.compiler.CompileException": (), "cuda.alloc_pinned_memory": (), "ndarray.set": ("stream",),
}  # fmt: skip


class CUDARuntimeError(RuntimeError):
    def __init__(self, status: int, name: str) -> None:
        super().__init__(name)
        self.status = status


class CUDADriverError(CUDARuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):  # noqa: N818  # CuPy's name
    pass


class Data:
    """`ndarray.data`."""

    def __init__(self, array: GpuArray) -> None:
        self._array, self.ptr = array, array.ctypes.data

    def memset_async(self, value: int, size: int, stream: SimStream) -> None:
        assert (value, size) == (0, self._array.nbytes)
        self._array.sim.clear(self._array, stream)


class GpuArray(SimArray):
    """`cupy.ndarray`: an array of the simulated GPU `sim`."""

    sim: SimDevice
    owner: Any = None  # of a surface's memory

    def __array_finalize__(self, other: Any) -> None:
        super().__array_finalize__(other)
        self.sim, self.owner = getattr(other, "sim", None), getattr(other, "owner", None)  # type: ignore[assignment]

    @property
    def data(self) -> Data:  # type: ignore[override]
        return Data(self)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(id=self.sim.index)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.__array_interface__

    def set(self, host: np.ndarray, stream: SimStream) -> None:
        assert host.flags.c_contiguous, "CuPy copies it first, through memory that is not pinned"
        self.sim.upload(host, self, stream)

    def __dlpack__(self, *, stream: int | None = None) -> Any:
        assert stream == -1, "the default stream would wait for this one's"
        return super().__dlpack__()


class Sides:
    """The GPUs of a machine with their streams, and which one is current in which thread."""

    def __init__(self, sims: list[SimDevice], driver: Driver) -> None:
        self.sims, self.driver = sims, driver
        self.legacy = [sim.open_stream() for sim in sims]
        self._threads = threading.local()

    @property
    def stack(self) -> list[int]:
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        return self._threads.stack  # type: ignore[no-any-return]

    @property
    def current(self) -> SimDevice:
        assert self.stack, "no device was made current: CuPy would take the first"
        return self.sims[self.stack[-1]]


def make_cupy(sims: list[SimDevice], driver: Driver, *, capability: tuple[int, int] = (8, 9), has_nvrtc: bool = True,
              old_driver: bool = False) -> Any:  # fmt: skip
    """The module. has_nvrtc: whether kernels can be compiled. old_driver: the driver is older than CuPy's CUDA."""
    sides = Sides(sims, driver)

    class Device:
        def __init__(self, index: int) -> None:
            self.id = index

        def __enter__(self) -> Device:
            if old_driver:
                raise CUDARuntimeError(35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
            if self.id >= len(sims):
                raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
            sides.stack.append(self.id)
            driver.current.append(driver.retain(self.id))
            return self

        def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            sides.stack.pop()
            driver.current.pop()

    class Stream(SimStream):
        null: SimStream

        def __init__(self, *, non_blocking: bool) -> None:
            assert non_blocking, "it would wait for the legacy stream"
            self.sim = sides.current
            super().__init__(len(self.sim.streams) + 1)
            self.sim.streams.append(self)

        def wait_event(self, event: Event) -> None:
            self._mine()
            self.sim.wait(self, event.sim_event)

        def begin_capture(self, mode: int) -> None:
            self._mine()
            with raw(CUDARuntimeError):
                self.sim.begin_capture()

        def end_capture(self) -> Graph:
            return Graph(self.sim, self.sim.end_capture())

        def _mine(self) -> None:
            if sides.current is not self.sim:
                raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: invalid resource handle")

        @staticmethod
        def from_external(stream: Any) -> AbstractContextManager[None]:
            assert any(each.ptr == stream.__cuda_stream__()[1] for each in sides.current.streams)
            return nullcontext()

    class _Null:
        def __get__(self, _: object, owner: object = None) -> SimStream:
            return sides.legacy[sides.stack[-1]]

    Stream.null = _Null()  # type: ignore[assignment]

    class Event:
        def __init__(self, *, block: bool = False, disable_timing: bool = False) -> None:
            self.sim, self.sim_event = sides.current, SimEvent(type(sims[0].host)())

        def record(self, stream: SimStream) -> None:
            if stream in self.sim.streams:
                if stream in sides.legacy:
                    self.sim.put(stream, "the decoder's picture", lambda: None)
                self.sim_event = self.sim.record(stream)
                return
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: an event of another device")

        @property
        def done(self) -> bool:
            return self.sim.is_past(self.sim_event)

        def synchronize(self) -> None:
            self.sim.synchronise(self.sim_event)

    class Graph:
        def __init__(self, sim: SimDevice, work: SimGraph) -> None:
            self.sim, self.work = sim, work

        def upload(self, stream: SimStream) -> None: ...

        def launch(self, stream: SimStream) -> None:
            with raw(CUDADriverError):
                self.sim.launch(self.work, stream)

    class RawKernel:
        def __init__(self, code: str, name: str, *, options: tuple[str, ...], backend: str) -> None:
            self.name = name

        def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...], *, shared_mem: int) -> None:
            if not has_nvrtc:
                raise RuntimeError('CuPy failed to load libnvrtc.so.12: OSError: "libnvrtc.so.12" cannot be opened')

    def empty(shape: tuple[int, ...], dtype: Any) -> GpuArray:
        sim = sides.current
        with raw(OutOfMemoryError):
            array = sim.allocate(shape, dtype).view(GpuArray)
        array.sim = sim
        return array

    def from_dlpack(given: Any) -> GpuArray:
        array = np.from_dlpack(given).view(GpuArray)
        array.sim, legacy = sides.current, sides.legacy[sides.stack[-1]]
        array.handle = array.sim.adopt(array, written=(legacy.ptr, max(legacy.clock[legacy.ptr], 1)))
        array.owner = given
        return array

    def copyto(out: GpuArray, source: GpuArray) -> None:
        raise AssertionError("a kernel of CuPy's, which wants CUDA's headers")

    def memcpy2d(out: int, out_pitch: int, source: int, pitch: int, row_bytes: int, rows: int, kind: int, stream: int) -> None:
        sim = sides.current
        target, given = (sim.bytes_at(*side, row_bytes, rows) for side in ((out, out_pitch), (source, pitch)))
        sim.put(sim.stream_of(stream), {2: "download", 3: "copy"}[kind], lambda: np.copyto(bare(target[0]), bare(given[0])),
                reads=[given[1]], writes=[target[1]])  # fmt: skip

    def properties(index: int) -> dict[str, Any]:
        return {"name": b"NVIDIA Simulated", "major": capability[0], "minor": capability[1]}

    runtime = SimpleNamespace(
        free=lambda pointer: None, CUDARuntimeError=CUDARuntimeError, getDeviceProperties=properties, memcpy2DAsync=memcpy2d,
        memcpyDeviceToHost=2, memcpyDeviceToDevice=3, streamCaptureModeRelaxed=2, memGetInfo=lambda: sides.current.memory(),
        getDeviceCount=lambda: len(sims),
    )  # fmt: skip
    pool = SimpleNamespace(free_all_blocks=lambda: sides.current.trim())
    return SimpleNamespace(
        ndarray=GpuArray, empty=empty, from_dlpack=from_dlpack, copyto=copyto, get_default_memory_pool=lambda: pool, RawKernel=RawKernel,
        sides=sides, asarray=lambda array: array,
        cuda=SimpleNamespace(
            Device=Device, Stream=Stream, Event=Event, Graph=Graph, runtime=runtime,
            driver=SimpleNamespace(CUDADriverError=CUDADriverError), get_current_stream=lambda: sides.legacy[sides.stack[-1]],
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError), compiler=SimpleNamespace(CompileException=CompileException),
        ),
    )  # fmt: skip


@contextmanager
def raw(kind: type[Exception]) -> Iterator[None]:
    """What the simulation says of too little memory and of captures, as CuPy says it."""
    try:
        yield
    except DeviceMemoryError as error:
        if issubclass(kind, OutOfMemoryError):
            raise kind(error.message) from None
        raise kind(2, "CUDA_ERROR_OUT_OF_MEMORY: out of memory") from None  # type: ignore[call-arg]
    except CaptureError as error:
        raise CUDARuntimeError(901, f"cudaErrorStreamCaptureInvalidated: {error}") from None


__all__ = ["FACE", "Pool", "make_cupy"]
