"""Device: a CUDA device and the stream that one call launches on. The only file that uses CuPy, and only when a kernel runs."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from .kernel_source import Kernel, read_source

INSTALL = "pip install 'streamsr[cuda12]' or 'streamsr[cuda13]', by the CUDA version that nvidia-smi shows"
DEFAULT_SHARED_BYTES = 48 * 1024  # a block gets more shared memory only where it is asked for
MAX_TABLES = 64  # of callers that own none: kept on the devices; a stream needs four
_CUDA_MEMORY = (2, 13)  # DLPack's kDLCUDA and kDLCUDAManaged
_tables: WeakValueDictionary[tuple[int, Hashable], Table] = WeakValueDictionary()  # all that anyone owns
_unowned: OrderedDict[tuple[int, Hashable], Table] = OrderedDict()
_tables_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Table:
    """Constant arrays on a device, for as long as this object is referenced."""

    arrays: tuple[Any, ...]


# What a caller owns: a CUDA graph reads tables at their addresses, so they have to live as long as it. See `Device.tables`.
Tables = dict[Hashable, Table]


@dataclass(frozen=True, slots=True)
class View:
    """What a kernel receives about an array: where it starts, and how far apart its elements are. strides: in bytes."""

    name: str
    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    array: Any  # keeps the memory alive

    def pitch(self, axis: int = 0) -> np.int64:
        """The stride of an axis in elements. Raises ValueError where elements are cut by it."""
        stride, rest = divmod(self.strides[axis], self.dtype.itemsize)
        if rest or stride < 0:
            raise ValueError(
                f"{self.name}: stride {self.strides[axis]} of axis {axis} is no whole, positive number of {self.dtype} elements."
            )
        return np.int64(stride)


Argument = View | np.generic


class Device:
    """A context manager; the first array that it views selects the device.

    stream: what the work is queued on: a raw `cudaStream_t` as an int, an object with `ptr` (CuPy) or `cuda_stream` (torch),
        or None for CuPy's current stream.
    """

    def __init__(self, stream: Any = None) -> None:
        self._cupy = import_cupy()
        self._stream = stream
        self._stack = ExitStack()
        self._id: int | None = None

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def view(self, name: str, array: Any) -> View:
        """An array in this device's memory: anything with `__cuda_array_interface__` or `__dlpack__`; nothing is copied.

        Raises TypeError for anything else, ValueError for memory of another device.
        """
        if hasattr(array, "__cuda_array_interface__"):
            found = array if isinstance(array, self._cupy.ndarray) else self._cupy.asarray(array)
            self._enter(name, found.device.id)
        elif hasattr(array, "__dlpack__"):
            kind, device = array.__dlpack_device__()
            if int(kind) not in _CUDA_MEMORY:
                raise TypeError(f"{name} is a {type(array).__name__} outside CUDA memory (DLPack device type {int(kind)}).")
            self._enter(name, device)  # first: the owner is told which stream will read
            found = self._cupy.from_dlpack(array)
        else:
            raise TypeError(f"{name} is a {type(array).__name__}; it has to be an array in CUDA memory (CUDA array interface or DLPack).")
        return View(name, found.data.ptr, found.shape, found.strides, found.dtype, found)

    def _enter(self, name: str, device: int) -> None:
        """Make the first array's device and the stream current."""
        if self._id is None:
            self._id = device
            self._stack.enter_context(self._cupy.cuda.Device(device))
            self._stack.enter_context(_as_stream(self._cupy, self._stream))
        elif device != self._id:
            raise ValueError(f"{name} is on device {device}, the arrays before it on device {self._id}.")

    def empty(self, name: str, shape: tuple[int, ...], dtype: Any) -> View:
        """A fresh array of CuPy's pool, on this stream."""
        return self.view(name, self._cupy.empty(shape, dtype))

    def tables(self, key: Hashable, make: Callable[[], Sequence[np.ndarray]], owner: Tables | None) -> tuple[View, ...]:
        """Constant arrays of `make`, uploaded once a device; the first time, this waits for them.

        owner: keeps them; without one the last MAX_TABLES are kept, which is too few for a CUDA graph to rely on.
        """
        assert self._id is not None
        kept = (self._id, key)
        table = None if owner is None else owner.get(kept)
        if table is None:
            with _tables_lock:
                table = _tables.get(kept)
                if table is None:
                    table = _tables[kept] = Table(tuple(self._cupy.asarray(array) for array in make()))
                    self._cupy.cuda.get_current_stream().synchronize()  # other streams will read them without waiting
                if owner is None:
                    self._keep(kept, table)
                else:
                    owner[kept] = table
        return tuple(self.view("table", array) for array in table.arrays)

    def _keep(self, kept: tuple[int, Hashable], table: Table) -> None:
        if kept not in _unowned and len(_unowned) == MAX_TABLES:
            with self._cupy.cuda.Device(next(iter(_unowned))[0]) as device:
                device.synchronize()  # a kernel may still read what goes
            _unowned.popitem(last=False)
        _unowned[kept] = table
        _unowned.move_to_end(kept)

    def launch(
        self, kernel: Kernel, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Argument], *, shared_bytes: int = 0
    ) -> None:
        """Queue a kernel; nothing is waited for. Raises RuntimeError where it does not compile for this device."""
        if not math.prod(grid):
            return
        function = _compiled(kernel)
        values = tuple(np.uint64(value.pointer) if isinstance(value, View) else value for value in arguments)
        try:
            if shared_bytes > DEFAULT_SHARED_BYTES:
                function.max_dynamic_shared_size_bytes = shared_bytes
            function(grid, block, values, shared_mem=shared_bytes)
        except self._cupy.cuda.compiler.CompileException as error:
            raise RuntimeError(f"{kernel.file} does not compile for this GPU: {error}") from error


def open_device(stream: Any = None) -> Device:
    """The Device that a wrapper uses for one call. Raises RuntimeError without CuPy or without a CUDA device."""
    return Device(stream)


@cache
def import_cupy() -> Any:
    """CuPy, once it is known to have a device."""
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(f"CuPy is not installed, which launches streamsr's CUDA kernels: {INSTALL}.") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"CuPy finds no CUDA device: {error}. Check `nvidia-smi`; CuPy's CUDA must not be newer: {INSTALL}.") from error
    if not count:
        raise RuntimeError("CuPy finds no CUDA device. Check `nvidia-smi` and CUDA_VISIBLE_DEVICES.")
    return cupy


@cache
def _compiled(kernel: Kernel) -> Any:
    """A cupy.RawKernel: compiles when first launched on a device, and is kept in CuPy's cache folder."""
    return import_cupy().RawKernel(read_source(kernel.file), kernel.name, options=kernel.options, backend="nvrtc")


@dataclass(frozen=True, slots=True)
class _RawStream:
    """A stream as CUDA's stream protocol shows it."""

    pointer: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


def _as_stream(cupy: Any, stream: Any) -> Any:
    if stream is None:
        return cupy.cuda.get_current_stream()
    pointer = getattr(stream, "cuda_stream", getattr(stream, "ptr", stream))
    if not isinstance(pointer, int):
        raise TypeError(f"stream is a {type(stream).__name__}; give a raw stream as an int, or a stream of CuPy's or torch's.")
    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_RawStream(pointer))
    return cupy.cuda.ExternalStream(pointer)  # CuPy 13
