"""Device against a CuPy that only notes what is asked of it: devices, streams, conversions, tables, errors."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from streamsr_kernels import launch_device as devices
from streamsr_kernels import local_axial_attention, unpack
from streamsr_kernels.kernel_source import Kernel


class FakeArray:
    """What CuPy's ndarray shows."""

    def __init__(self, array: np.ndarray, device: int = 0) -> None:
        self.array, self.device, self.data = array, SimpleNamespace(id=device), SimpleNamespace(ptr=array.ctypes.data)
        self.shape, self.strides, self.dtype, self.ndim = array.shape, array.strides, array.dtype, array.ndim
        self.__cuda_array_interface__: dict[str, Any] = {}


class FakeCupy:
    """The part of CuPy that device.py uses. `current`: the streams and devices that are current, the last one in use."""

    ndarray = FakeArray

    def __init__(self) -> None:
        self.current: list[Any] = []
        self.launched: list[tuple[str, tuple[int, ...], tuple[Any, ...], int, Any]] = []
        self.num_uploads = self.num_waits = 0
        fake = self

        class Context:
            def __init__(self, name: Any) -> None:
                self.name = name

            def __enter__(self) -> Any:
                fake.current.append(self.name)
                return self

            def __exit__(self, *_: object) -> None:
                assert fake.current.pop() == self.name

            def synchronize(self) -> None:
                fake.num_waits += 1

        class Stream:
            @staticmethod
            def from_external(stream: Any) -> Context:
                return Context(stream.__cuda_stream__()[1])

        class CompileException(Exception):  # noqa: N818  # CuPy's name
            pass

        class RawKernel:
            def __init__(self, code: str, name: str, *, options: tuple[str, ...], backend: str) -> None:
                self.code, self.name, self.max_dynamic_shared_size_bytes = code, name, 0

            def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...], *, shared_mem: int) -> None:
                if "broken" in self.name:
                    raise CompileException("error: identifier")
                assert shared_mem <= max(self.max_dynamic_shared_size_bytes, devices.DEFAULT_SHARED_BYTES)
                fake.launched.append((self.name, grid, values, shared_mem, fake.current[-1]))

        class CUDARuntimeError(Exception):
            pass

        self.RawKernel = RawKernel
        self.count: Any = 2

        def count_devices() -> int:
            if isinstance(self.count, str):
                raise CUDARuntimeError(self.count)
            return self.count

        runtime = SimpleNamespace(getDeviceCount=count_devices, CUDARuntimeError=CUDARuntimeError)
        self.cuda = SimpleNamespace(
            Device=lambda number: Context(f"device {number}"), Stream=Stream, get_current_stream=lambda: Context("cupy's own"),
            runtime=runtime, compiler=SimpleNamespace(CompileException=CompileException),
        )  # fmt: skip

    def asarray(self, array: np.ndarray) -> FakeArray:
        self.num_uploads += 1
        return FakeArray(array)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> FakeArray:
        return FakeArray(np.empty(shape, dtype))

    def from_dlpack(self, array: Any) -> FakeArray:
        return FakeArray(array.__dlpack__(stream=self.current[-1]))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCupy]:
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for name in ("_tables", "_unowned"):
        monkeypatch.setattr(devices, name, type(getattr(devices, name))())
    for cached in (devices.import_cupy, devices._compiled):
        cached.cache_clear()
    yield cupy
    for cached in (devices.import_cupy, devices._compiled):
        cached.cache_clear()
    assert not cupy.current


class DLPack:
    """A producer on a device: says which stream it was asked for."""

    def __init__(self, array: np.ndarray, kind: int = 2, device: int = 0) -> None:
        self.array, self.kind, self.device, self.asked = array, kind, device, None

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.kind, self.device

    def __dlpack__(self, *, stream: Any) -> np.ndarray:
        self.asked = stream
        return self.array


LUMA, LEVELS = np.zeros((6, 10), np.uint8), np.zeros((6, 10), np.float16)


@pytest.mark.parametrize(
    ("stream", "name"),
    [(None, "cupy's own"), (77, 77), (0, 0), (SimpleNamespace(ptr=88), 88), (SimpleNamespace(cuda_stream=99), 99)],
)
def test_work_is_queued_on_the_callers_stream(fake: FakeCupy, stream: Any, name: Any) -> None:
    unpack(FakeArray(LUMA), FakeArray(LEVELS), bits=8, stream=stream)
    assert [(kernel, current) for kernel, _, _, _, current in fake.launched] == [("unpack", name)]
    assert fake.num_waits == 0


def test_a_producer_hears_of_the_stream_that_will_read(fake: FakeCupy) -> None:
    luma = DLPack(LUMA)
    unpack(luma, FakeArray(LEVELS), bits=8, stream=77)
    assert luma.asked == 77


def test_wrong_streams_are_refused(fake: FakeCupy) -> None:
    with pytest.raises(TypeError, match="stream is a str"):
        unpack(FakeArray(LUMA), FakeArray(LEVELS), bits=8, stream="default")


@pytest.mark.parametrize(("array", "words"), [(LUMA, "outside CUDA memory"), (DLPack(LUMA, kind=10), "type 10"), ([1, 2], "is a list")])
def test_host_memory_is_refused(fake: FakeCupy, array: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        unpack(array, FakeArray(LEVELS), bits=8)


def test_memory_of_two_devices_is_refused(fake: FakeCupy) -> None:
    with pytest.raises(ValueError, match="on device 1, the arrays before it on device 0"):
        unpack(FakeArray(LUMA), FakeArray(LEVELS, device=1), bits=8)


def test_pointers_and_sizes_reach_the_kernel(fake: FakeCupy) -> None:
    luma, out = FakeArray(np.zeros((6, 16), np.uint8)[:, :10]), FakeArray(LEVELS)
    unpack(luma, out, bits=8)
    ((_, grid, values, shared, _),) = fake.launched
    assert values[:3] == (luma.data.ptr, 16, out.data.ptr)
    assert isinstance(values[0], np.uint64)
    assert (grid, shared) == ((1, 1), 0)


def test_more_shared_memory_than_usual_is_asked_for(fake: FakeCupy) -> None:
    query, value = (FakeArray(np.zeros((1, channels, 4, 4), np.float16)) for channels in (16, 24))
    local_axial_attention(query, query, value, radius=8)
    assert fake.launched[0][3] > devices.DEFAULT_SHARED_BYTES


def test_tables_are_uploaded_once_and_waited_for(fake: FakeCupy) -> None:
    with devices.open_device() as device:
        device.view("a", FakeArray(LUMA))
        for _ in range(3):
            device.tables("key", lambda: (LUMA, LUMA), None)
        assert (fake.num_uploads, fake.num_waits) == (2, 1)
        for number in range(2 * devices.MAX_TABLES):
            device.tables(number, lambda: (LUMA,), None)
    assert len(devices._tables) == devices.MAX_TABLES


def test_a_table_lives_as_long_as_a_graph_that_reads_it(fake: FakeCupy) -> None:
    owner: devices.Tables = {}
    with devices.open_device() as device:
        device.view("a", FakeArray(LUMA))
        (view,) = device.tables("key", lambda: (LUMA.copy(),), owner)
        memory = weakref.ref(view.array)
        for number in range(2 * devices.MAX_TABLES):  # other sizes, by others
            device.tables(number, lambda: (LUMA.copy(),), None)
        del view
        assert memory() is not None
        (again,) = device.tables("key", lambda: (LUMA.copy(),), {})
        assert again.array is memory()  # chains share it
    del again
    owner.clear()
    assert memory() is None


def test_a_kernel_that_does_not_compile_is_named(fake: FakeCupy) -> None:
    with devices.open_device() as device:
        device.view("a", FakeArray(LUMA))
        with pytest.raises(RuntimeError, match=r"planes.cu does not compile for this GPU: error: identifier"):
            device.launch(Kernel("planes.cu", "broken"), (1,), (32,), [])


def test_nothing_is_launched_for_nothing(fake: FakeCupy) -> None:
    empty = FakeArray(np.zeros((1, 8, 0, 4), np.float16))
    assert local_axial_attention(empty, empty, empty, radius=1).shape == (1, 8, 0, 4)
    assert not fake.launched


@pytest.mark.parametrize("count", [0, "driver version is insufficient"])
def test_no_device_is_said(fake: FakeCupy, count: Any) -> None:
    fake.count = count
    with pytest.raises(RuntimeError, match=r"no CUDA device.*nvidia-smi"):
        unpack(FakeArray(LUMA), FakeArray(LEVELS), bits=8)


def test_missing_cupy_is_said_with_its_command(fake: FakeCupy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match=r"pip install 'streamsr\[cuda12\]'"):
        unpack(LUMA, LEVELS, bits=8)
