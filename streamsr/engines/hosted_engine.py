"""HostedEngine: an engine on a device, for planes that are in host memory.

The pipeline on a GPU does without it. It serves whatever works with NumPy planes, such as pictures given one by one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from streamsr.engines.cupy_arrays import Arrays
from streamsr.engines.device_engine import DeviceArray, DeviceChroma, DeviceEngine, DeviceState, Lane
from streamsr.engines.engine import Chroma, State

CONCURRENCY = 2  # planes on the device at once: one is computed while the other comes or goes
MAX_SIZES = 4  # plane sizes whose lanes are kept


@dataclass
class _Slot:
    """A lane with its stream and its arrays."""

    lane: Lane
    stream: int
    luma: DeviceArray
    out: DeviceArray
    state: DeviceState
    following: DeviceState
    chroma: DeviceChroma | None


@dataclass
class _Slots:
    """Those of one plane size."""

    idle: list[_Slot] = field(default_factory=list)
    num_open: int = 0


class HostedEngine:
    """Implements `streamsr.engines.Engine` by a DeviceEngine, which it owns."""

    concurrency = CONCURRENCY

    def __init__(self, engine: DeviceEngine, arrays: Arrays, *, bits: int) -> None:
        self.inner = engine
        self.name, self.device, self.precision, self.reason, self.scale = (
            engine.name, engine.device, engine.precision, engine.reason, engine.scale,
        )  # fmt: skip
        self.bits = bits
        self._arrays = arrays
        self._sizes: OrderedDict[tuple[int, int], _Slots] = OrderedDict()
        self._changed = threading.Condition()

    def prepare(self, height: int, width: int) -> None:
        """Build for this size, or find it built."""
        self._give_back(self._take(height, width))

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`."""
        slot = self._take(*luma.shape)
        max_code = (1 << self.bits) - 1
        try:
            arrays, stream = self._arrays, slot.stream
            arrays.upload(np.ascontiguousarray(luma)[None, None], slot.luma, 1 / max_code, stream=stream)
            for host, array in zip(state, slot.state, strict=True):
                arrays.upload(np.ascontiguousarray(host)[None], array, 1.0, stream=stream)
            if chroma is not None and slot.chroma is not None:
                arrays.upload(np.ascontiguousarray(chroma.samples)[None], slot.chroma.samples, 1 / max_code, stream=stream)
                arrays.upload(chroma.told, slot.chroma.condition, 1.0, stream=stream)
            slot.lane.enqueue(slot.luma, slot.out, slot.state, slot.following, slot.chroma, stream=stream)
            np.copyto(out, arrays.codes(slot.out, max_code, out.dtype, stream=stream)[0, 0])
            if chroma is not None and slot.chroma is not None:
                np.copyto(chroma.out, arrays.codes(slot.chroma.out, max_code, out.dtype, stream=stream)[0])
            return tuple(arrays.download(array, stream=stream)[0] for array in slot.following)
        finally:
            self._give_back(slot)

    def _take(self, height: int, width: int) -> _Slot:
        with self._changed:
            while True:  # a size may be dropped while a call waits for it
                slots = self._sizes.setdefault((height, width), _Slots())
                self._sizes.move_to_end((height, width))
                if slots.idle:
                    return slots.idle.pop()
                if slots.num_open < CONCURRENCY:
                    break
                self._changed.wait()
            slots.num_open += 1
            self._drop_sizes()
        try:
            return self._open(height, width)
        except BaseException:
            with self._changed:
                slots.num_open -= 1
                self._changed.notify_all()
            raise

    def _drop_sizes(self) -> None:
        """Free the lanes of the sizes that were not used for longest, beyond MAX_SIZES; the lock is held."""
        unused = [size for size, slots in self._sizes.items() if len(slots.idle) == slots.num_open]
        for size in unused[: max(0, len(self._sizes) - MAX_SIZES)]:
            for slot in self._sizes.pop(size).idle:
                slot.lane.close()

    def _open(self, height: int, width: int) -> _Slot:
        lane = self.inner.open_lane(1, height, width)
        try:
            zeros, s = self._arrays.zeros, self.scale
            planes = zeros((1, 1, height, width), self.inner.dtype), zeros((1, 1, s * height, s * width), self.inner.dtype)
            chroma = None
            if self.inner.has_chroma:
                samples, made, told = (zeros(shape, self.inner.dtype) for shape in (*2 * [(1, 2, height, width)], (1, 2, 1, 1)))
                chroma = DeviceChroma(samples, made, told)
            return _Slot(lane, self._arrays.open_stream(), *planes, lane.new_state(), lane.new_state(), chroma)
        except BaseException:
            lane.close()
            raise

    def _give_back(self, slot: _Slot) -> None:
        with self._changed:
            self._sizes[slot.lane.shape[1], slot.lane.shape[2]].idle.append(slot)
            self._changed.notify_all()

    def close(self) -> None:
        """Free the lanes and the engine; nothing may be in flight."""
        with self._changed:
            for slots in self._sizes.values():
                for slot in slots.idle:
                    slot.lane.close()
            self._sizes.clear()
        self.inner.close()
