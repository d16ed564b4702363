"""FramesInFlight: frames of one FramePlan in flight on the device, bounded in number, in order, with none lost.

Note [Order]: slots are used in turn and finish in turn. Without a state they run side by side. A recurrent network runs them
one after another: each waits, on the device, for the event after the one before; uploads, downloads and the encoder still
overlap. There are two sets of states; step j reads one and writes the other, and the step after it the other way round.

Note [Again]: where memory runs out, what was launched before comes out first. Then there is less on the device (streamsr.
device.memory), and the frames of the slot that failed are computed again: their samples are still held, and a step writes
another set of states than it reads, so it can be made twice.

Note [One chain]: slots whose frames are computed side by side have a chain each. Those of a recurrent network share one: the event
that a frame waits for is behind all that the one before did in it, so a second lane would be memory for nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..engines.device_engine import DeviceChroma, DeviceEngine, DeviceMemoryError
from ..upscaling.scene_cuts import Continuity
from .device import Device, DeviceArray
from .frame_plan import FramePlan
from .frame_relation import RelationFinder
from .frame_slot import Rings, Slot, Ticket
from .kernel_chain import Chain, Planes, States, state_shapes
from .oom_fallback import DeviceTooSmallError, Rung, step_down


class Succeed(Protocol):
    """Asked after a frame was launched whether another engine takes over pass `number`: see `DeviceHandover.check`."""

    def __call__(
        self, number: int, luma: DeviceArray, out: DeviceArray, state: Planes, following: Planes, chroma: DeviceChroma | None, *,
        stream: int,
    ) -> DeviceEngine | None: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class HandoverHooks:
    succeed: Succeed
    retire: Callable[[], None]  # called once the engines that another one took over from have nothing of this flight's any more


class FramesInFlight:
    """continuity: of the stream, for a network with a state; None without one. tell: called when less fits than requested.

    handover: where another engine may take over in the middle.

    Raises DeviceTooSmallError where not even the smallest fits.
    """

    def __init__(
        self, device: Device, picture: FramePlan, engines: Sequence[DeviceEngine], *, rung: Rung, rings: Rings,
        continuity: Continuity | None, tell: Callable[[str], None], handover: HandoverHooks | None = None,
    ) -> None:  # fmt: skip
        self._device, self.picture, self._engines = device, picture, list(engines)
        self._handover = handover
        self.rung, self._rings, self._tell = rung, rings, tell
        self.ready: deque[Ticket] = deque()  # finished, in order; whoever takes them out gives them on
        self.unfinished: list[Ticket] = []  # in order; after DeviceTooSmallError whoever takes them out can make them elsewhere
        self._slots: list[Slot] = []
        self._chains: list[Chain] = []
        self._flying: deque[Slot] = deque()  # launched, the oldest first
        self._filling: Slot | None = None
        self._turn = 0  # the slot that is used next
        self._last: Slot | None = None  # launched last
        self._step = 0  # of the network, counted where it has a state
        self._states: list[States] = []
        self._judge: RelationFinder | None = None
        self._busy_s = 0.0  # in which a frame was on its way: time that frames share counts once
        self._finished = 0.0  # when the last one was
        try:
            if continuity is not None:
                self._states = [self._new_states() for _ in range(2)]
                self._judge = RelationFinder(device, picture, continuity)
            self._open()
        except DeviceTooSmallError:
            raise
        except DeviceMemoryError as error:
            raise self._too_small(str(error)) from error

    @property
    def engines(self) -> Sequence[DeviceEngine]:
        """Those that it runs on now."""
        return self._engines

    @property
    def uncaptured(self) -> str:
        """Why CUDA graphs are not used; "" where they are."""
        return next((slot.uncaptured for slot in self._slots if slot.uncaptured), "")

    def put(self, ticket: Ticket) -> None:
        """Take the next frame; waits where no slot is free. What is finished then is in `ready`."""
        if self._filling is None:
            slot = self._slots[self._turn]
            while slot.is_launched:
                self._finish_first()
            self._filling = slot
            del slot
        why = self._load(self._filling, ticket)
        if why:
            self._again(why)
        elif self._filling is None and self._handover is not None:
            self._hand_over()
        while self._flying and self._device.is_past(self._flying[0].end):
            self._finish_first()

    def drain(self) -> None:
        """Finish every frame in flight; they are in `ready` then."""
        while self._filling is not None and self._filling.tickets:
            why = self._try_launch(self._filling)
            if why:
                self._again(why)
        self.land()

    def land(self) -> None:
        """Finish what was launched, and nothing else: after a failure, the frames before it."""
        while self._flying:
            self._finish_first()

    def land_first(self) -> None:
        """Finish what was launched first, and what is done with it."""
        if self._flying:
            self._finish_first()

    def take_busy_s(self) -> float:
        """Seconds with a frame in flight since the last call."""
        busy_s, self._busy_s = self._busy_s, 0.0
        return busy_s

    def _finish_first(self) -> None:
        slot = self._flying[0]
        self.ready += slot.finish()
        self._flying.popleft()
        now = time.perf_counter()
        self._busy_s += now - max(slot.launched, self._finished)
        self._finished = now

    def close(self) -> None:
        """Wait for what is on the device and free it; frames that are not finished are given up."""
        try:
            for slot in self._slots:
                slot.settle()
        finally:
            self._close_slots()

    def _load(self, slot: Slot, ticket: Ticket) -> str:
        """Why there is too little memory, in words: an exception would keep the memory that it came from. "" where it went well."""
        try:
            slot.load(ticket)
            if self._judge is not None and not ticket.relation:
                ticket.relation = self._judge.judge(ticket, slot)
        except DeviceMemoryError as error:
            return str(error)
        return self._try_launch(slot) if slot.is_full else ""

    def _try_launch(self, slot: Slot) -> str:
        try:
            self._launch(slot)
        except DeviceMemoryError as error:
            return str(error)
        return ""

    def _launch(self, slot: Slot) -> None:
        relation = slot.tickets[0].relation
        if relation == "repeats" and self._last is not None:
            slot.repeat(self._last)
        else:
            # a repetition whose picture was lost (Note [Again]) is the last step once more
            step = self._step - (relation == "repeats")
            state, following = self._states_of(step)
            if relation == "anew":
                self._clear(state, slot)
            after = self._last.computed if self._states and self._last is not None else None
            slot.launch(state, following, key=step % 2 if self._states else 0, after=after)
            self._step = step + 1
        slot.launched = time.perf_counter()
        self._last = slot
        self._filling = None
        self._flying.append(slot)
        self._turn = (self._turn + 1) % len(self._slots)

    def _states_of(self, step: int) -> tuple[States, States]:
        """Before and after it."""
        if not self._states:
            empty: States = tuple(() for _ in self.picture.passes)
            return empty, empty
        return self._states[step % 2], self._states[(step + 1) % 2]

    def _hand_over(self) -> None:
        """Where another engine takes over: let what is in flight end, and go on with it. Nothing is reset."""
        assert self._handover is not None
        slot = self._last
        if slot is None or slot.tickets[0].relation == "repeats":
            return
        state, following = self._states_of(self._step - 1)
        engines = list(self._engines)
        for number in range(len(engines)):
            planes = slot.chain.planes_of(number)
            if planes is not None:
                luma, out, chroma = planes
                successor = self._handover.succeed(number, luma, out, state[number], following[number], chroma, stream=slot.stream.ptr)
                engines[number] = successor or engines[number]
        if engines == self._engines:
            return
        self.land()
        before, self._engines = self._states, engines
        del slot, planes, luma, out, chroma
        if before:
            self._states = [self._new_states() for _ in range(2)]
            stream = self._device.open_stream()
            for old, new in zip(before, self._states, strict=True):
                for olds, news in zip(old, new, strict=True):
                    for source, out in zip(olds, news, strict=True):
                        self._device.copy(source, out, stream)
            self._device.synchronise(self._device.record(stream))
            del before, old, new, olds, news, source, out
        self._close_slots()
        self._handover.retire()  # before the new one takes memory
        self._open()

    def _clear(self, state: States, slot: Slot) -> None:
        if self._last is not None and self._last.computed is not None:
            self._device.wait(slot.stream, self._last.computed)
        for planes in state:
            for plane in planes:
                self._device.clear(plane, slot.stream)

    def _again(self, why: str) -> None:
        """See Note [Again]."""
        assert self._filling is not None
        self.land()
        self._filling.settle()
        self.unfinished = self._filling.tickets + self.unfinished
        self._filling.tickets = []
        self._lower(why)
        self._open()
        while self.unfinished:
            self.put(self.unfinished.pop(0))

    def _lower(self, why: str) -> None:
        before, after = self.rung, step_down(self.rung, self.picture)
        if after is None:
            raise self._too_small(why)
        self._tell(f"{self._device.name} has too little memory for {before.words}; it goes on with {after.words}")
        self.rung = after
        self._close_slots()
        self._device.trim()  # here alone: what is given back stalls the device, and encoders know surfaces by their addresses

    def _open(self) -> None:
        """Open the slots, as many as fit."""
        while why := self._try_open():
            self._lower(why)

    def _try_open(self) -> str:
        self._close_slots()
        try:
            rung, rings = self.rung, self._rings
            for _ in range(rung.num_slots):
                stream = self._device.open_stream()
                if not self._chains or not self._states:  # Note [One chain]
                    self._chains.append(
                        Chain(self._device, self.picture, self._engines, batch=rung.batch, limit=rung.limit, stream=stream)
                    )
                self._slots.append(Slot(self._device, self.picture, self._chains[-1], stream, batch=rung.batch, rings=rings))
        except DeviceMemoryError as error:
            self._close_slots()
            return str(error)
        return ""

    def _close_slots(self) -> None:
        self._flying.clear()
        self._filling = self._last = None
        self._turn = 0
        slots, self._slots = self._slots, []
        chains, self._chains = self._chains, []
        for slot in slots:
            slot.close()
        for chain in chains:
            chain.close()

    def _new_states(self) -> States:
        return tuple(
            tuple(self._device.allocate(shape, engine.dtype) for shape in state_shapes(engine, *each.padded))
            for each, engine in zip(self.picture.passes, self._engines, strict=True)
        )

    def _too_small(self, why: str) -> DeviceTooSmallError:
        width, height = self.picture.width, self.picture.height
        free, total = self._device.memory()
        words = f"{self._device.name} has too little memory for one frame of {width}x{height}: {why}"
        hint = f"{free / 2**20:.0f} of {total / 2**20:.0f} MiB are free; end other programs on it, or take --device cpu"
        return DeviceTooSmallError(words, hint=hint)
