"""A device without a GPU: a DeviceEngine on NumPy arrays that holds its caller to the contract of streamsr.engines.device_engine.

The network is nearest repetition plus a quarter of what the state holds; the next state is the mean of luma and state. So the
output of frame k tells which frames came before it, in which order. Work is launched when the fake stream is synchronised,
as on a real one: who reads an output too early reads NaN.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from streamsr.engines.device_engine import Contract, DeviceMemoryError, DeviceState, DType, check_call
from streamsr.errors import EngineError, UsageError
from streamsr.models import StateShape


class FakeDevice:
    """Streams as queues of launched work. `log` keeps (stream, what) in the order of launch."""

    def __init__(self, *, num_lanes: int = 8) -> None:
        self.num_lanes = num_lanes  # as many fit into its memory
        self.num_open = 0
        self.log: list[tuple[int, str]] = []
        self._queues: dict[int, list[Callable[[], None]]] = defaultdict(list)

    def launch(self, stream: int, what: str, work: Callable[[], None]) -> None:
        self.log.append((stream, what))
        self._queues[stream].append(work)

    def synchronise(self, stream: int) -> None:
        """Run what was launched on one stream, in its order."""
        work, self._queues[stream] = self._queues[stream], []
        for step in work:
            step()


class FakeDeviceEngine:
    """Implements `streamsr.engines.device_engine.DeviceEngine`.

    gain: multiplies the output; an engine that computes something else. broken: the launch after as many fails.
    """

    name = "fake"
    device = "cuda:0"
    precision = "f16"
    reason = "f16: a fake"
    max_batch = 4

    def __init__(self, device: FakeDevice, *, scale: int = 2, dtype: DType = "float16", recurrent: bool = True, gain: float = 1.0,
                 broken: int | None = None) -> None:  # fmt: skip
        self.fake, self.scale, self.dtype, self.gain, self.broken = device, scale, dtype, gain, broken
        self.has_chroma = False
        self.states = (StateShape("state_0", 1),) if recurrent else ()
        self.lanes: list[FakeLane] = []
        self.closed = False

    def open_lane(self, n: int, height: int, width: int) -> FakeLane:
        if not 1 <= n <= self.max_batch:
            raise UsageError(f"A batch of {n} planes; this engine takes 1 to {self.max_batch}.")
        if self.fake.num_open >= self.fake.num_lanes:
            raise DeviceMemoryError(f"{self.device} has no room for {n} planes of {width}x{height}.")
        self.fake.num_open += 1
        self.lanes.append(FakeLane(self, (n, height, width)))
        return self.lanes[-1]

    def close(self) -> None:
        assert not any(lane.is_open for lane in self.lanes), "an engine was closed before its lanes"
        self.closed = True


class NumpyArrays:
    """Implements `streamsr.engines.cupy_arrays.Arrays` on a FakeDevice: what reads results synchronises first."""

    def __init__(self, device: FakeDevice) -> None:
        self.fake = device
        self._num_streams = 100

    def current(self) -> AbstractContextManager[None]:
        return nullcontext()

    def open_stream(self) -> int:
        self._num_streams += 1
        return self._num_streams

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        return np.zeros(shape, dtype)

    def upload(self, host: np.ndarray, array: np.ndarray, factor: float, *, stream: int) -> None:
        given = host.astype(np.float32) * np.float32(factor)  # a copy, as the caller may change it once this returns
        self.fake.launch(stream, "upload", lambda: np.copyto(array, given, casting="unsafe"))

    def codes(self, array: np.ndarray, max_code: int, sample: np.dtype, *, stream: int) -> np.ndarray:
        self.fake.synchronise(stream)
        return np.clip(np.rint(array.astype(np.float32) * max_code), 0, max_code).astype(sample)

    def download(self, array: np.ndarray, *, stream: int) -> np.ndarray:
        self.fake.synchronise(stream)
        return array.astype(np.float32)


class FakeLane:
    """Implements `streamsr.engines.device_engine.Lane`."""

    is_capturable = True

    def __init__(self, engine: FakeDeviceEngine, shape: tuple[int, int, int]) -> None:
        self.engine, self.shape, self.is_open = engine, shape, True

    def new_state(self) -> DeviceState:
        n, h, w = self.shape
        return tuple(np.zeros((n, s.channels, s.scale * h, s.scale * w), self.engine.dtype) for s in self.engine.states)

    def enqueue(
        self, luma: np.ndarray, out: np.ndarray, state: DeviceState = (), following: DeviceState = (), chroma: Any = None, *, stream: int
    ) -> None:  # fmt: skip
        engine = self.engine
        assert self.is_open, "a lane was used after it was closed"
        check_call(Contract.of(engine, self.shape), luma, out, state, following, chroma)
        if engine.broken is not None:
            engine.broken -= 1
            if engine.broken < 0:
                raise EngineError("The fake device failed.")
        for array in (out, *following):
            array[:] = np.nan
        engine.fake.launch(stream, f"{engine.name} {self.shape}", lambda: self._run(luma, out, state, following))

    def _run(self, luma: np.ndarray, out: np.ndarray, state: DeviceState, following: DeviceState) -> None:
        seen = luma + state[0] / 4 if state else luma
        out[:] = (self.engine.gain * seen).repeat(self.engine.scale, 2).repeat(self.engine.scale, 3)
        for old, new in zip(state, following, strict=True):
            new[:] = (old + luma) / 2

    def close(self) -> None:
        assert self.is_open, "a lane was closed twice"
        self.is_open = False
        self.engine.fake.num_open -= 1
