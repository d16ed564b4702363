"""Handover: work starts on an engine that is ready, and goes over to a faster one between two frames.

Note [Handover]: for each plane size that comes, a thread builds the successor while the running engine goes on. When it
is there, the next frame runs on both. The frame that leaves is that of the running engine, so no frame waits for a build
and none is lost; where the two agree (`TOLERANCES`), the frame after it is the successor's. A state is a matter of the
model and not of an engine, so the successor goes on from the state that the running engine left: nothing is reset, and
states are compared like luma. A build that fails, a result that does not agree and a successor that fails later are said
once; the running engine stays, or takes that very frame over again. A size that failed is not built again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from streamsr.engines.cupy_arrays import Arrays
from streamsr.engines.device_engine import DeviceArray, DeviceChroma, DeviceEngine, DeviceState, DType
from streamsr.engines.engine import Chroma, Engine, State
from streamsr.engines.succession import Candidate, Say, Size, Succession
from streamsr.errors import StreamsrError

# (mean, largest) difference of luma in codes of 255 between two engines, by the running one's precision. Half precision and
# bf16 round a code the other way now and then; int8 has 255 steps an activation (tests/engines/test_engines.py).
TOLERANCES = {"int8": (1.0, 32.0)}
TOLERANCE = (0.25, 4.0)
STATE_TOLERANCE = 0.02  # mean difference, as a share of the mean absolute value, or of 0.1 where the state is weaker
WEAK_STATE = 0.1
CONCURRENCY = 2  # calls side by side; an engine that takes fewer makes them wait


class Handover:
    """Implements `streamsr.engines.Engine` by a running engine, and for each size by what `build` makes once that agrees with it.

    Owns both. open_running: opens the engine that is ready, when it is first needed. is_ready: whether `build` takes no time
    for a size, as its plan is kept: it is then used from the first frame on, and nothing else is opened for it.
    names: of the successor and the running engine. say: called for each handover, and for each failed one with the reason.
    """

    concurrency = CONCURRENCY

    def __init__(
        self, open_running: Callable[[], Engine], build: Callable[[Size, threading.Event], Engine], *, scale: int, bits: int,
        names: tuple[str, str], say: Say, is_ready: Callable[[Size], bool] = lambda size: False,
    ) -> None:  # fmt: skip
        self.scale, self.bits = scale, bits
        self._open_running, self._is_ready = open_running, is_ready
        self._running: Engine | None = None
        self._opening = threading.Lock()
        self._succession = Succession(build, names=names, say=say)
        self._num_frames = 0

    @property
    def running(self) -> Engine:
        with self._opening:
            if self._running is None:
                self._running = self._open_running()
            return self._running

    @property
    def current(self) -> Engine:
        """The engine that most lately took over, or the running one."""
        taken = self._taken()
        return taken[-1].engine if taken and taken[-1].engine is not None else self.running

    @property
    def name(self) -> str:
        return self.current.name

    @property
    def device(self) -> str:
        return self.current.device

    @property
    def precision(self) -> str:
        return self.current.precision

    @property
    def reason(self) -> str:
        """Progress as text."""
        taken, successor = self._taken(), self._succession.names[0]
        if taken:
            since = taken[0].since
            return f"{self.current.reason}; on {self.running.name} up to frame {since}" if since else self.current.reason
        with self._succession.lock:
            failed = any(found.status == "refused" for found in self._succession.sizes.values())
        return f"{self.running.reason}; {successor} {'could not take over' if failed else 'is being built'}"

    def prepare(self, height: int, width: int) -> None:
        """Make the running engine ready for this size, and begin to build its successor."""
        candidate, _ = self._claim((height, width))
        if candidate.status != "taken":
            self.running.prepare(height, width)

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`, and Note [Handover]."""
        candidate, is_tried = self._claim((luma.shape[0], luma.shape[1]), is_frame=True)
        if candidate.status == "taken" and candidate.engine is not None:
            try:
                return candidate.engine.infer(luma, out, state, chroma)
            except StreamsrError as error:
                self._succession.refuse(candidate, f"it failed: {error.message}")
        following = self.running.infer(luma, out, state, chroma)
        if is_tried:
            self._succession.settle(candidate, self._num_frames, lambda engine: self._compare(engine, luma, out, state, following, chroma))
        return following

    def _claim(self, size: Size, *, is_frame: bool = False) -> tuple[Candidate[Engine], bool]:
        with self._succession.lock:
            self._num_frames += is_frame
            if size not in self._succession.sizes and self._is_ready(size):
                self._succession.adopt(size)
            if not is_frame:
                return self._succession.find(size), False
        return self._succession.claim(size)

    def _compare(
        self, engine: Engine, luma: np.ndarray, out: np.ndarray, state: State, following: State, chroma: Chroma | None
    ) -> str:
        """How the engine's result differs from that of the running one; "" where it agrees."""
        trial = np.empty_like(out)
        trial_chroma = None if chroma is None else replace(chroma, out=np.empty_like(chroma.out))
        trial_following = engine.infer(luma, trial, state, trial_chroma)
        unit, precision = 255 / ((1 << self.bits) - 1), self.running.precision
        why = find_difference(out * unit, trial * unit, following, trial_following, precision=precision)
        if not why and chroma is not None and trial_chroma is not None:
            why = find_difference(chroma.out * unit, trial_chroma.out * unit, (), (), precision=precision, plane="chroma")
        return why

    def _taken(self) -> list[Candidate[Engine]]:
        with self._succession.lock:
            taken = [found for found in self._succession.sizes.values() if found.status == "taken"]
        return sorted(taken, key=lambda found: found.since)

    def close(self) -> None:
        """Stop a build, wait until it has ended, and free all engines."""
        for engine in (*self._succession.close(), self._running):
            if engine is not None:
                engine.close()


class DeviceHandover:
    """The same for a pipeline on a device. The pipeline owns lanes, streams and graphs, so it is the one that goes over:

        handover = DeviceHandover(running, build, arrays=arrays, successor="tensorrt", say=say)
        handover.begin(1, height, width)
        ... after each frame:
        successor = handover.check(luma, out, state, following, stream=stream)
        if successor is not None:   # once a size: let all frames in flight end, then open lanes on it and capture anew

    The states of the running engine go on in the successor where `dtype` is the same; else they are to be converted.
    """

    def __init__(
        self, running: DeviceEngine, build: Callable[[Size, threading.Event], DeviceEngine], *, arrays: Arrays, successor: str, say: Say
    ) -> None:
        self.running = running
        self._arrays = arrays
        self._succession = Succession(build, names=(successor, running.name), say=say)
        self._num_checks = 0

    def begin(self, n: int, height: int, width: int) -> None:
        """Begin to build for this shape, unless that was done before."""
        with self._succession.lock:
            self._succession.find((n, height, width))

    def check(
        self, luma: DeviceArray, out: DeviceArray, state: DeviceState = (), following: DeviceState = (),
        chroma: DeviceChroma | None = None, *, stream: int,
    ) -> DeviceEngine | None:  # fmt: skip
        """The successor, once it is built and agrees with what the running engine made of one frame; None before and after.

        The arrays are those of `Lane.enqueue` for a frame that was launched on `stream`, and are left as they are. Costs
        nothing until there is a successor; then it waits for the stream, runs the frame again and compares on the host.
        """
        self._num_checks += 1
        n, _, height, width = luma.shape
        candidate, is_tried = self._succession.claim((n, height, width))
        if not is_tried or candidate.engine is None:
            return None
        frame = (luma, out, state, following)
        return candidate.engine if self._succession.settle(
            candidate, self._num_checks, lambda engine: self._compare(engine, frame, chroma, stream)
        ) else None  # fmt: skip

    def _compare(
        self, engine: DeviceEngine, frame: tuple[DeviceArray, DeviceArray, DeviceState, DeviceState], chroma: DeviceChroma | None,
        stream: int,
    ) -> str:  # fmt: skip
        def host(array: DeviceArray) -> np.ndarray:
            return self._arrays.download(array, stream=stream)

        luma, out, state, following = frame
        n, _, height, width = luma.shape
        lane = engine.open_lane(n, height, width)
        try:
            trial = self._arrays.zeros(tuple(out.shape), engine.dtype)
            trial_luma = self._arrays.zeros(tuple(luma.shape), engine.dtype)
            self._arrays.upload(host(luma), trial_luma, 1.0, stream=stream)
            trial_state, trial_following = lane.new_state(), lane.new_state()
            for old, copy in zip(state, trial_state, strict=True):
                self._arrays.upload(host(old), copy, 1.0, stream=stream)
            trial_chroma = None if chroma is None else self._trial_of(chroma, engine.dtype, stream)
            lane.enqueue(trial_luma, trial, trial_state, trial_following, trial_chroma, stream=stream)
            if chroma is not None and trial_chroma is not None:
                made, tried = (np.clip(host(plane), 0, 1) * 255 for plane in (chroma.out, trial_chroma.out))
                why = find_difference(made, tried, (), (), precision=self.running.precision, plane="chroma")
                if why:
                    return why
            lumas = (np.clip(host(plane), 0, 1) * 255 for plane in (out, trial))
            states = ([host(array) for array in arrays] for arrays in (following, trial_following))
            return find_difference(*lumas, *states, precision=self.running.precision)
        finally:
            lane.close()

    def _trial_of(self, chroma: DeviceChroma, dtype: DType, stream: int) -> DeviceChroma:
        """The same chroma for another engine, with room for what it makes of it."""
        arrays = (chroma.samples, chroma.out, chroma.condition)
        samples, out, condition = (self._arrays.zeros(tuple(array.shape), dtype) for array in arrays)
        for one, copy in ((chroma.samples, samples), (chroma.condition, condition)):
            self._arrays.upload(self._arrays.download(one, stream=stream), copy, 1.0, stream=stream)
        return DeviceChroma(samples, out, condition)

    def close(self) -> None:
        """Stop a build and wait until it has ended. The successors that took over belong to the pipeline; frees the others."""
        with self._succession.lock:
            taken = [found.engine for found in self._succession.sizes.values() if found.status == "taken"]
        for engine in self._succession.close():
            if not any(engine is found for found in taken):
                engine.close()


def find_difference(
    luma: np.ndarray, trial: np.ndarray, following: Sequence[np.ndarray], trial_following: Sequence[np.ndarray], *, precision: str,
    plane: str = "luma",
) -> str:
    """How two engines' results for one frame differ by more than they may; "" where they agree.

    luma, trial: in codes of 255. following: the states. precision: of the engine that the first results are of.
    """
    mean, largest = TOLERANCES.get(precision, TOLERANCE)
    codes = np.abs(luma - trial)
    if not (codes.mean() <= mean and codes.max() <= largest):  # so written that NaN differs
        return f"{plane} by {codes.mean():.2f} codes of 255 on average and {codes.max():.1f} at most; {mean:g} and {largest:g} are allowed"
    for number, (one, other) in enumerate(zip(following, trial_following, strict=True)):
        share = np.abs(one - other).mean() / max(float(np.abs(one).mean()), WEAK_STATE)
        if not share <= STATE_TOLERANCE:
            return f"state {number} by {100 * share:.1f} %; {100 * STATE_TOLERANCE:g} % are allowed"
    return ""
