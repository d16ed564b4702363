"""A GPU without a GPU: `streamsr.device.device.Device` on NumPy, which runs late, in any order that the streams allow, and tells.

What is put on a stream runs when someone waits for it, mixed at random (by a seed) with the work of other streams. Who reads a
download too early gets garbage, and who writes over an upload too early sends the wrong picture.

Beside that, every access to memory is checked the moment it is put on a stream: with vector clocks, so whatever the order in
which it happens to run. Two accesses of which one writes need an event between them, or the same stream.

    clock of a stream    how far each stream is known to have come, for what is put on this one now
    event                the clock of a stream when it was recorded; `wait` and `synchronise` merge it into a stream's, or the host's
"""

from __future__ import annotations

import ctypes
import random
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from sim_kernels import CpuKernels
from sim_memory import POISON, Block, Clock, Handle, HazardError, Place, Pool, SimArray, Uses, bare

from streamsr.device.device import CaptureError
from streamsr.engines.device_engine import DeviceMemoryError


@dataclass(eq=False)
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
    reads: tuple[Uses | Place, ...]
    writes: tuple[Uses | Place, ...]


@dataclass
class SimGraph:
    """Holds addresses, and keeps no memory alive."""

    work: list[_Work]


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

    name, index = "cuda:0", 0  # where tests have several, they number them

    def __init__(
        self, *, budget: int = 1 << 40, seed: int = 0, failures: dict[str, set[int]] | None = None, capturable: bool = True
    ) -> None:  # fmt: skip
        self.pool = Pool(budget)
        self.failures, self.calls = failures or {}, Counter[str]()
        self.capturable = capturable
        self.random = random.Random(seed)
        self.streams: list[SimStream] = []
        self.host: Clock = Counter()
        self.log: list[tuple[int, str]] = []
        self.num_graphs = self.num_launched = 0
        self.is_closed = False
        self._pinned: dict[int, Uses] = {}
        self._sizes: dict[int, int] = {}  # of pinned memory, in bytes
        self._surfaces: list[Block] = []  # of decoders, which were handed on
        self.registered: dict[int, Place] = {}  # surfaces that an encoder knows by their addresses
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
        work = _Work(what, run, tuple(map(self._place, reads)), tuple(map(self._place, writes)))
        if self._captured is not None:
            self._captured.append(work)
            return
        self.log.append((stream.ptr, what))
        stream.clock |= self.host  # the host puts it there knowing this
        stream.clock[stream.ptr] += 1
        stream.queue.append((None, run))
        self._touch_all(work, stream)

    def stream_of(self, ptr: int) -> SimStream:
        return self.streams[ptr - 1]

    # memory

    def allocate(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        assert self._captured is None, "an allocation in a graph"
        self.fail("allocate")
        try:
            return self.pool.take(shape, dtype)
        except MemoryError as error:
            raise DeviceMemoryError(str(error)) from None

    def pin(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        self.fail("pin")
        array = np.full(shape, POISON, dtype)
        address = _address(array)
        self._pinned[address] = Uses()
        self._sizes[address] = array.nbytes
        weakref.finalize(array, self._pinned.pop, address, None)
        pinned = array.view(Pinned)
        pinned.device = self
        return pinned

    def upload(self, host: np.ndarray, array: np.ndarray, stream: SimStream) -> None:
        self.fail("upload")
        assert isinstance(host, Pinned), "an upload from memory that is not pinned"
        assert host.shape == array.shape
        plain, made = host.view(np.ndarray), bare(array)
        self.put(stream, "upload", lambda: np.copyto(made, plain), reads=[plain], writes=[array])

    def download(self, array: np.ndarray, host: np.ndarray, stream: SimStream) -> None:
        assert isinstance(host, Pinned), "a download into memory that is not pinned"
        assert host.shape == array.shape
        plain, given = host.view(np.ndarray), bare(array)
        plain.fill(POISON)
        self.put(stream, "download", lambda: np.copyto(plain, given), reads=[array], writes=[plain])

    def copy(self, source: np.ndarray, out: np.ndarray, stream: SimStream) -> None:
        assert source.shape == out.shape
        given, made = bare(source), bare(out)
        self.put(stream, "copy", lambda: np.copyto(made, given), reads=[source], writes=[out])

    def clear(self, array: np.ndarray, stream: SimStream) -> None:
        made = bare(array)
        self.put(stream, "clear", lambda: made.fill(0), writes=[array])

    def trim(self) -> None:
        for stream in self.streams:
            assert not stream.queue, "memory is given back while work is on its way"
        self.pool.trim()
        for place in self.registered.values():
            place.check("an encoder")

    def memory(self) -> tuple[int, int]:
        return self.pool.budget - self.pool.used, self.pool.budget

    @property
    def used(self) -> int:
        return self.pool.used

    @property
    def peak(self) -> int:
        return self.pool.peak

    @property
    def budget(self) -> int:
        return self.pool.budget

    @budget.setter
    def budget(self, nbytes: int) -> None:
        self.pool.budget = nbytes

    # graphs

    def capture(self, stream: SimStream, work: Callable[[], None]) -> SimGraph:
        self.begin_capture()
        try:
            work()
        finally:
            graph = self.end_capture()
        return graph

    def begin_capture(self) -> None:
        self.fail("capture")
        if not self.capturable:
            raise CaptureError("this device captures nothing")
        assert self._captured is None, "a capture inside another"
        self._captured = []

    def end_capture(self) -> SimGraph:
        assert self._captured is not None
        self.num_graphs += 1
        work, self._captured = self._captured, None
        return SimGraph(work)

    def launch(self, graph: SimGraph, stream: SimStream) -> None:
        self.fail("launch")
        self.num_launched += 1
        for work in graph.work:
            for place in (*work.reads, *work.writes):
                if isinstance(place, Place):
                    place.check(f"a graph ({work.what})")
            self.put(stream, work.what, work.run, reads=work.reads, writes=work.writes)

    # surfaces

    def import_surface(self, video: Any, stream: SimStream) -> tuple[np.ndarray, ...]:
        return tuple(video.surface)

    def export_surface(self, planes: Sequence[np.ndarray], pix_fmt: str) -> Any:
        """A frame of host memory that shares and keeps these planes: PyAV makes one of tensors on a CPU as of those on a GPU."""
        for plane in planes:
            self.touch_by_host(plane, writes=False)
        y, uv = planes
        pitch, size = y.strides[0], y.shape[0] * y.strides[0]
        assert pitch % 256 == 0, "NVENC wants rows so far apart"
        assert uv.strides[0] == pitch, "NVENC knows one pitch"
        assert uv.ctypes.data - y.ctypes.data == size, "NVENC takes chroma from behind luma"
        return av.VideoFrame.from_dlpack(tuple(planes), format=pix_fmt)

    def close(self) -> None:
        self.trim()
        self.is_closed = True

    # what the checks need

    def fail(self, kind: str) -> None:
        number, self.calls[kind] = self.calls[kind], self.calls[kind] + 1
        if number in self.failures.get(kind, ()):
            raise DeviceMemoryError(f"{kind} number {number} fails")

    def touch_by_host(self, array: np.ndarray, *, writes: bool) -> None:
        place = self._place(array)
        self._touch(place.block.uses if isinstance(place, Place) else place, 0, self.host, writes=writes, what="the host")

    def adopt(self, array: np.ndarray, *, written: tuple[int, int]) -> Handle:
        """Memory of a decoder's, last written on a stream at some clock."""
        whole = array.view(np.ndarray)
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        block = Block(whole, Uses(written=written), generation=1)
        self._surfaces = [*self._surfaces[-64:], block]
        return Handle(block)

    def bytes_at(self, address: int, pitch: int, row_bytes: int, rows: int) -> tuple[np.ndarray, Uses | Place]:
        """What a copy in two dimensions touches: (rows, row_bytes) at an address, and whose memory that is."""
        length = (rows - 1) * pitch + row_bytes
        flat = np.ctypeslib.as_array((ctypes.c_uint8 * length).from_address(address))
        samples = np.lib.stride_tricks.as_strided(flat, (rows, row_bytes), (pitch, 1))
        for block in (*self.pool.blocks(), *self._surfaces):
            if block.memory.ctypes.data <= address < block.memory.ctypes.data + block.nbytes:
                assert address + length <= block.memory.ctypes.data + block.nbytes, "a copy goes past the end of its memory"
                place = Place(block, block.generation)
                place.check("a copy")
                return samples, place
        for start, uses in self._pinned.items():
            if start <= address < start + self._sizes[start]:
                assert address + length <= start + self._sizes[start], "a copy goes past the end of its memory"
                return samples, uses
        raise HazardError("a copy from or to memory that nobody allocated, or that is not pinned")

    def _place(self, array: Any) -> Uses | Place:
        """What is known of an array's memory; that of a decoder's surface is not the device's."""
        if isinstance(array, (Uses, Place)):
            return array
        if isinstance(array, SimArray):
            assert array.handle is not None
            array.handle.check("a launch")
            return Place(array.handle.block, array.handle.generation)
        return self._pinned.get(_address(array)) or Uses()

    def _touch_all(self, work: _Work, stream: SimStream) -> None:
        for places, writes in ((work.reads, False), (work.writes, True)):
            for place in places:
                uses = place.block.uses if isinstance(place, Place) else place
                self._touch(uses, stream.ptr, stream.clock, writes=writes, what=work.what)

    def _touch(self, uses: Uses, stream: int, clock: Clock, *, writes: bool, what: str) -> None:
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
