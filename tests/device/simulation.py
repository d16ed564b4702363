"""A GPU without a GPU: `streamsr.device.device.Device` on NumPy, which runs late, in any order that the streams allow, and tells.

What is put on a stream runs when someone waits for it, mixed at random (by a seed) with the work of other streams. Who reads a
download too early gets garbage, and who writes over an upload too early sends the wrong picture.

Beside that, every access to memory is checked the moment it is put on a stream: with vector clocks, so whatever the order in
which it happens to run. Two accesses of which one writes need an event between them, or the same stream.

    clock of a stream    how far each stream is known to have come, for what is put on this one now
    event                the clock of a stream when it was recorded; `wait` and `synchronise` merge it into a stream's, or the host's
"""

from __future__ import annotations

import random
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np

from streamsr.device.device import CaptureError
from streamsr.device.frame_plan import ChromaMap
from streamsr.engines.device_engine import DeviceMemoryError
from streamsr.frame import Frame
from streamsr.resample import Resampler, resize_plane

Clock = Counter[int]
POISON = 0xA5


class HazardError(AssertionError):
    """Memory that is touched by two that do not wait for each other."""


@dataclass
class SimStream:
    ptr: int
    clock: Clock = field(default_factory=Counter)
    queue: deque[tuple[Clock | None, Callable[[], None]]] = field(default_factory=deque)  # what it waits for, and what it does
    num_done: int = 0


@dataclass
class SimEvent:
    clock: Clock


@dataclass
class _Work:
    what: str
    run: Callable[[], None]
    reads: tuple[np.ndarray, ...]
    writes: tuple[np.ndarray, ...]


@dataclass
class SimGraph:
    work: list[_Work]


@dataclass
class _Uses:
    """Who touched a piece of memory: (stream, its clock then); the host is stream 0."""

    written: tuple[int, int] | None = None
    read: dict[int, int] = field(default_factory=dict)


class Pinned(np.ndarray):
    """Host memory that is looked after: copying from and to it is checked."""

    device: SimDevice | None = None

    def __array_finalize__(self, other: Any) -> None:
        self.device = getattr(other, "device", None)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        for place, array in enumerate(args):
            if isinstance(array, Pinned) and array.device is not None:
                array.device.touch_by_host(array, writes=function is np.copyto and place == 0)
        plain = [array.view(np.ndarray) if isinstance(array, Pinned) else array for array in args]
        return function(*plain, **kwargs)


class SimDevice:
    """budget: bytes of device memory. failures: {"allocate": {3, 4}}: which calls of a kind fail for lack of memory, counted from 0.

    log: (stream, what) in the order of launch. capturable: whether graphs work.
    """

    name, index = "cuda:0", 0

    def __init__(
        self, *, budget: int = 1 << 40, seed: int = 0, failures: dict[str, set[int]] | None = None, capturable: bool = True
    ) -> None:  # fmt: skip
        self.budget, self.used, self.peak = budget, 0, 0
        self.failures, self.calls = failures or {}, Counter[str]()
        self.capturable = capturable
        self.random = random.Random(seed)
        self.streams: list[SimStream] = []
        self.host: Clock = Counter()
        self.log: list[tuple[int, str]] = []
        self.num_graphs = self.num_launched = 0
        self.is_closed = False
        self._by_id: dict[int, _Uses] = {}
        self._captured: list[_Work] | None = None
        self.kernels = CpuKernels(self)

    # streams and events

    def open_stream(self) -> SimStream:
        self.streams.append(SimStream(len(self.streams) + 1))
        return self.streams[-1]

    def record(self, stream: SimStream) -> SimEvent:
        assert self._captured is None, "an event in a graph"
        return SimEvent(Counter(stream.clock))

    def wait(self, stream: SimStream, event: SimEvent) -> None:
        assert self._captured is None, "a wait in a graph"
        stream.queue.append((event.clock, lambda: None))
        stream.clock |= event.clock
        stream.clock[stream.ptr] += 1

    def is_past(self, event: SimEvent) -> bool:
        for _ in range(self.random.randrange(4)):
            self._run_one()
        if self._has_come(event.clock):
            self.host |= event.clock
            return True
        return False

    def synchronise(self, event: SimEvent) -> None:
        assert self._captured is None, "a wait of the host in a graph"
        while not self._has_come(event.clock):
            assert self._run_one(), "the host waits for what nobody put on a stream"
        self.host |= event.clock

    def put(self, stream: SimStream, what: str, run: Callable[[], None], *, reads: Sequence[Any] = (), writes: Sequence[Any] = ()) -> None:
        """Put work on a stream, or into the graph that is being captured."""
        work = _Work(what, run, tuple(reads), tuple(writes))
        if self._captured is not None:
            self._captured.append(work)
            return
        self.log.append((stream.ptr, what))
        stream.clock |= self.host  # the host puts it there knowing this
        stream.clock[stream.ptr] += 1
        stream.queue.append((None, run))
        for array in work.reads:
            self._touch(array, stream.ptr, stream.clock, writes=False, what=what)
        for array in work.writes:
            self._touch(array, stream.ptr, stream.clock, writes=True, what=what)

    def stream_of(self, ptr: int) -> SimStream:
        return self.streams[ptr - 1]

    # memory

    def allocate(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        assert self._captured is None, "an allocation in a graph"
        self.fail("allocate")
        array = np.full(shape, POISON, dtype)
        if self.used + array.nbytes > self.budget:
            raise DeviceMemoryError(f"{self.used} of {self.budget} bytes are used, {array.nbytes} more are asked for")
        self._own(array)
        return array

    def pin(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        self.fail("pin")
        array = np.full(shape, POISON, dtype)
        self._register(array)
        pinned = array.view(Pinned)
        pinned.device = self
        return pinned

    def upload(self, host: np.ndarray, array: np.ndarray, stream: SimStream) -> None:
        self.fail("upload")
        assert isinstance(host, Pinned), "an upload from memory that is not pinned"
        assert host.shape == array.shape
        plain = host.view(np.ndarray)
        self.put(stream, "upload", lambda: np.copyto(array, plain), reads=[plain], writes=[array])

    def download(self, array: np.ndarray, host: np.ndarray, stream: SimStream) -> None:
        assert isinstance(host, Pinned), "a download into memory that is not pinned"
        assert host.shape == array.shape
        plain = host.view(np.ndarray)
        plain.fill(POISON)
        self.put(stream, "download", lambda: np.copyto(plain, array), reads=[array], writes=[plain])

    def copy(self, source: np.ndarray, out: np.ndarray, stream: SimStream) -> None:
        assert source.shape == out.shape
        self.put(stream, "copy", lambda: np.copyto(out, source), reads=[source], writes=[out])

    def clear(self, array: np.ndarray, stream: SimStream) -> None:
        self.put(stream, "clear", lambda: array.fill(0), writes=[array])

    def trim(self) -> None:
        for stream in self.streams:
            assert not stream.queue, "memory is given back while work is on its way"

    def memory(self) -> tuple[int, int]:
        return self.budget - self.used, self.budget

    # graphs

    def capture(self, stream: SimStream, work: Callable[[], None]) -> SimGraph:
        self.fail("capture")
        if not self.capturable:
            raise CaptureError("this device captures nothing")
        self._captured = []
        try:
            work()
            self.num_graphs += 1
            return SimGraph(self._captured)
        finally:
            self._captured = None

    def launch(self, graph: SimGraph, stream: SimStream) -> None:
        self.fail("launch")
        self.num_launched += 1
        for work in graph.work:
            self.put(stream, work.what, work.run, reads=work.reads, writes=work.writes)

    # surfaces

    def import_surface(self, video: Any, stream: SimStream) -> tuple[np.ndarray, ...]:
        return tuple(video.surface)

    def export_surface(self, planes: Sequence[np.ndarray], pix_fmt: str) -> Any:
        """The picture in host memory: there is no frame of another kind without a GPU."""
        for plane in planes:
            self.touch_by_host(plane, writes=False)
        y, uv = planes
        height, width = y.shape
        video = av.VideoFrame(width, height, "yuv420p" if pix_fmt == "nv12" else "yuv420p10le")
        shift = 0 if pix_fmt == "nv12" else 6
        for plane, samples in zip(Frame(video).planes, (y, uv[..., 0], uv[..., 1]), strict=True):
            plane[:] = samples >> shift
        return video

    def close(self) -> None:
        self.trim()
        self.is_closed = True

    # what the checks need

    def fail(self, kind: str) -> None:
        number, self.calls[kind] = self.calls[kind], self.calls[kind] + 1
        if number in self.failures.get(kind, ()):
            raise DeviceMemoryError(f"{kind} number {number} fails")

    def touch_by_host(self, array: np.ndarray, *, writes: bool) -> None:
        self._touch(array, 0, self.host, writes=writes, what="the host")

    def _touch(self, array: np.ndarray, stream: int, clock: Clock, *, writes: bool, what: str) -> None:
        uses = self._by_id.get(_address(array))
        if uses is None:
            return  # memory that is not the device's, such as a decoder's surface
        others = [uses.written] if uses.written is not None else []
        if writes:
            others += list(uses.read.items())
        for other, then in others:
            if other != stream and clock[other] < then:
                verb = "writes" if writes else "reads"
                raise HazardError(f"stream {stream} ({what}) {verb} memory that stream {other} may be using: no event between them")
        if writes:
            uses.written, uses.read = (stream, clock[stream]), {}
        else:
            uses.read[stream] = clock[stream]

    def _own(self, array: np.ndarray) -> None:
        self._register(array)
        self.used += array.nbytes
        self.peak = max(self.peak, self.used)
        weakref.finalize(array, self._free, array.nbytes)

    def _register(self, array: np.ndarray) -> None:
        address = _address(array)
        self._by_id[address] = _Uses()
        weakref.finalize(array, self._by_id.pop, address, None)

    def _free(self, nbytes: int) -> None:
        self.used -= nbytes

    def _has_come(self, clock: Clock) -> bool:
        return all(ptr == 0 or self.streams[ptr - 1].num_done >= count for ptr, count in clock.items())

    def _run_one(self) -> bool:
        ready = [stream for stream in self.streams if stream.queue and (stream.queue[0][0] is None or self._has_come(stream.queue[0][0]))]
        if not ready:
            assert not any(stream.queue for stream in self.streams), "streams wait for each other for ever"
            return False
        stream = self.random.choice(ready)
        stream.queue.popleft()[1]()
        stream.num_done += 1
        return True


def _address(array: np.ndarray) -> int:
    """Of the piece of memory that an array is part of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return int(array.__array_interface__["data"][0])


class CpuKernels:
    """`streamsr.device.device.Kernels` with the arithmetic of the pipeline on a CPU, so that results can be the same, bit for bit."""

    def __init__(self, device: SimDevice) -> None:
        self._device = device

    def deinterleave(self, surface: Sequence[np.ndarray], planes: Sequence[np.ndarray], *, bits: int, stream: SimStream) -> None:
        def run() -> None:
            for plane, samples in zip(planes, (surface[0], surface[1][..., 0], surface[1][..., 1]), strict=True):
                plane[:] = samples >> (0 if bits == 8 else 16 - bits)

        self._device.put(stream, "deinterleave", run, reads=surface, writes=planes)

    def interleave(self, planes: Sequence[np.ndarray], surface: Sequence[np.ndarray], *, bits: int, stream: SimStream) -> None:
        def run() -> None:
            for plane, samples in zip(planes, (surface[0], surface[1][..., 0], surface[1][..., 1]), strict=True):
                samples[:] = plane << (0 if bits == 8 else 16 - bits)

        self._device.put(stream, "interleave", run, reads=planes, writes=surface)

    def unpack(self, plane: np.ndarray, luma: np.ndarray, *, bits: int, stream: SimStream) -> None:
        def run() -> None:
            rows, columns = (large - small for large, small in zip(luma.shape, plane.shape, strict=True))
            luma[:] = np.pad(plane, ((0, rows), (0, columns)), mode="edge") / np.float32((1 << bits) - 1)

        self._device.put(stream, "unpack", run, reads=[plane], writes=[luma])

    def pack(self, luma: np.ndarray, plane: np.ndarray, *, bits: int, stream: SimStream) -> None:
        def run() -> None:
            most = np.float32((1 << bits) - 1)
            plane[:] = np.clip(np.rint(luma[: plane.shape[0], : plane.shape[1]].astype(np.float32) * most), 0, most)

        self._device.put(stream, "pack", run, reads=[luma], writes=[plane])

    def resample_luma(self, plane: np.ndarray, out: np.ndarray, *, bits: int, tables: Any, stream: SimStream) -> None:
        def run() -> None:
            resize_plane(plane, out.shape[1], out.shape[0], bits=bits, out=out)

        self._device.put(stream, "resample luma", run, reads=[plane], writes=[out])

    def resample_chroma(
        self, planes: Sequence[np.ndarray], out: Sequence[np.ndarray], chroma: ChromaMap, *, bits: int, tables: Any, stream: SimStream
    ) -> None:
        def run() -> None:
            sampling = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}[chroma.log2]
            video = av.VideoFrame(*chroma.source, f"yuv{sampling}p" + ("" if bits == 8 else f"{bits}le"))
            for plane, samples in zip(Frame(video).planes, (0, *planes), strict=True):
                plane[:] = samples
            for plane, samples in zip(out, Frame(Resampler(*chroma.target)(video)).planes[1:], strict=True):
                plane[:] = samples

        self._device.put(stream, "resample chroma", run, reads=planes, writes=out)

    def look(
        self, plane: np.ndarray, before: np.ndarray, samples: np.ndarray, differs: np.ndarray, *, step: tuple[int, int], stream: SimStream
    ) -> None:
        def run() -> None:
            differs[0] = not np.array_equal(plane, before)
            before[:] = plane
            samples[:] = plane[:: step[0], :: step[1]]

        self._device.put(stream, "look", run, reads=[plane], writes=[before, samples, differs])
