"""A DeviceEngine for the simulated GPU, on an engine of the CPU: the same network with the same arithmetic."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from sim_memory import bare
from simulation import SimDevice

from streamsr.engines import Chroma, Engine, open_engine
from streamsr.engines.device_engine import Contract, DeviceChroma, DeviceState, DType, check_call
from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec


class SimNetwork:
    """Implements `streamsr.engines.device_engine.DeviceEngine`.

    broken_at: the launch that fails, counted from 0, and not for lack of memory.
    """

    name = "simulated"
    device = "cuda:0"
    precision = "f32"
    reason = "f32: simulated"
    max_batch = 4

    def __init__(
        self, spec: ModelSpec, device: SimDevice, *, bits: int = 8, dtype: DType = "float32", broken_at: int | None = None
    ) -> None:  # fmt: skip
        self.spec, self.sim, self.bits, self.dtype, self.broken_at = spec, device, bits, dtype, broken_at
        self.scale, self.states, self.has_chroma = spec.scale, spec.states, spec.has_chroma
        self.inner: Engine = open_engine(spec, bits=bits, engine="openvino", precision="f32", threads=1)
        self.lanes: list[SimLane] = []
        self.seen: list[int] = []  # of each frame that ran, the sum of its codes: who they were, in which order
        self.num_launched = 0
        self.is_closed = False

    def open_lane(self, n: int, height: int, width: int) -> SimLane:
        if not 1 <= n <= self.max_batch:
            raise UsageError(f"A batch of {n} planes; this engine takes 1 to {self.max_batch}.")
        self.lanes.append(SimLane(self, (n, height, width)))
        return self.lanes[-1]

    def close(self) -> None:
        assert not any(lane.is_open for lane in self.lanes), "an engine was closed before its lanes"
        self.is_closed = True
        self.inner.close()


class SimLane:
    """Implements `streamsr.engines.device_engine.Lane`. Its activations are memory like any other: two streams must not share it."""

    is_capturable = True

    def __init__(self, network: SimNetwork, shape: tuple[int, int, int]) -> None:
        network.sim.fail("lane")
        self.network, self.shape, self.is_open = network, shape, True
        n, h, w = shape
        self.activations = network.sim.allocate((n, network.spec.channels, h, w), "float32")
        self.has_run = False

    def new_state(self) -> DeviceState:
        raise AssertionError("states belong to the stream of frames")

    def enqueue(
        self, luma: np.ndarray, out: np.ndarray, state: DeviceState = (), following: DeviceState = (),
        chroma: DeviceChroma | None = None, *, stream: int,
    ) -> None:  # fmt: skip
        network = self.network
        assert self.is_open, "a lane was used after it was closed"
        assert self.has_run or network.sim._captured is None, "a lane was captured before it ran"
        self.has_run = True
        check_call(Contract.of(network, self.shape), luma, out, state, following, chroma)
        network.sim.fail("enqueue")
        if network.num_launched == network.broken_at:
            raise EngineError("The simulated network failed.")
        network.num_launched += 1
        colour = () if chroma is None else (chroma.samples, chroma.condition, chroma.out)
        for array in (luma, out, *state, *following, *colour):
            assert array.ctypes.data % 256 == 0, "TensorRT wants 256 bytes of alignment"
        planes = tuple(map(bare, colour))
        given, made = (bare(luma), tuple(map(bare, state))), (bare(out), tuple(map(bare, following)))
        network.sim.put(
            network.sim.stream_of(stream), "network", lambda: self._run(given[0], made[0], given[1], made[1], planes),
            reads=[luma, *state, *colour[:2]], writes=[out, *following, *colour[2:], self.activations],
        )  # fmt: skip

    def _run(
        self, luma: np.ndarray, out: np.ndarray, state: DeviceState, following: DeviceState, colour: tuple[np.ndarray, ...]
    ) -> None:  # fmt: skip
        network = self.network
        most = np.float32((1 << network.bits) - 1)
        dtype = np.uint8 if network.bits == 8 else np.uint16
        for number in range(self.shape[0]):
            codes = np.rint(luma[number, 0].astype(np.float32) * most).astype(dtype)
            network.seen.append(int(codes.sum()))
            made = np.empty(out.shape[2:], dtype)
            chroma = None
            if colour:
                samples, condition = np.rint(colour[0][number].astype(np.float32) * most).astype(dtype), colour[1].ravel()
                chroma = Chroma(samples, np.empty_like(samples), (float(condition[0]), float(condition[1])))
            after = network.inner.infer(codes, made, tuple(array[number].astype(np.float32) for array in state), chroma)
            out[number, 0] = made / most
            if chroma is not None:
                colour[2][number] = chroma.out / most
            for array, new in zip(following, after, strict=True):
                array[number] = new

    def close(self) -> None:
        assert self.is_open, "a lane was closed twice"
        self.is_open = False
        self.activations = None  # type: ignore[assignment]


def count_words(log: list[tuple[int, str]]) -> Counter[Any]:
    """How often each word is in a device's log."""
    return Counter(what for _, what in log)
