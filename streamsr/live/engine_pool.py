"""EnginePool: the engines that the streams of one process share, and the order in which they use them.

A model is loaded and compiled once, whatever number of streams uses it. Note [Turns]: a stream has one plane in the engine at a time.
Of the streams that wait, the one goes next that has had the least engine time; idle time earns no credit. So
a large stream cannot starve small ones. Whoever gets a turn takes along the planes of the same size and model that wait at that
moment, up to what the engine takes at once (its `max_batch`); nobody waits for a batch to fill.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engines import BatchEngine, Chroma, Engine, State, count_threads, open_engine
from ..models import ModelSpec

Opener = Callable[..., Engine]


@dataclass(slots=True)
class Turn:
    """What a stream has had of the engines."""

    used_s: float = 0.0


@dataclass(slots=True, eq=False)
class _Job:
    turn: Turn
    engine: Engine
    luma: np.ndarray
    out: np.ndarray
    state: State = ()  # of a recurrent model, before this plane
    chroma: Chroma | None = None
    following: State = ()  # and after it
    taken: bool = False
    done: Future[State] = field(default_factory=Future)


class Scheduler:
    """Lets `slots` calls run side by side. See Note [Turns]."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[_Job] = []
        self._changed = threading.Condition()
        self._now_s = 0.0  # engine time of whoever had the last turn: where an idle stream starts

    def infer(
        self, turn: Turn, engine: Engine, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None
    ) -> State:
        """`engine.infer(luma, out, state, chroma)` when it is this stream's turn; raises what that raises."""
        job = _Job(turn, engine, luma, out, state, chroma)
        batch: list[_Job] = []
        with self._changed:
            turn.used_s = max(turn.used_s, self._now_s)
            self._waiting.append(job)
            while not (job.taken or (self._free and self._next() is job)):
                self._changed.wait()
            if not job.taken:
                batch = self._take_along(job)
                self._free -= 1
                self._now_s = turn.used_s
        if batch:
            self._run(batch)
        return job.done.result()

    def _next(self) -> _Job:
        return min(self._waiting, key=lambda job: job.turn.used_s)

    def _take_along(self, first: _Job) -> list[_Job]:
        # a plane with a state or with chroma goes alone: `infer_batch` carries neither
        alone = first.state or first.chroma is not None
        most = first.engine.max_batch if isinstance(first.engine, BatchEngine) and not alone else 1
        like = [job for job in self._waiting if job is not first and job.engine is first.engine and not (job.state or job.chroma)
                and job.luma.shape == first.luma.shape]  # fmt: skip
        batch = [first, *sorted(like, key=lambda job: job.turn.used_s)[: most - 1]]
        for job in batch:
            job.taken = True
            self._waiting.remove(job)
        self._changed.notify_all()
        return batch

    def _run(self, batch: list[_Job]) -> None:
        started = time.perf_counter()
        try:
            if len(batch) > 1 and isinstance(batch[0].engine, BatchEngine):
                try:
                    batch[0].engine.infer_batch([job.luma for job in batch], [job.out for job in batch])
                    return
                except Exception:  # one plane's failure is not the others': each on its own says whose it is
                    pass
            for job in batch:
                try:
                    job.following = job.engine.infer(job.luma, job.out, job.state, job.chroma)
                except BaseException as error:
                    job.done.set_exception(error)
        finally:
            each_s = (time.perf_counter() - started) / len(batch)
            with self._changed:
                self._free += 1
                for job in batch:
                    job.turn.used_s += each_s
                self._changed.notify_all()
            for job in batch:
                if not job.done.done():
                    job.done.set_result(job.following)


class EnginePool:
    """Opens each engine once. `member()` gives a stream what it opens engines with; close them when the stream ends."""

    def __init__(self, *, threads: int = 0) -> None:
        self._scheduler = Scheduler(count_threads(threads))
        self._lock = threading.Lock()
        self._engines: dict[Hashable, tuple[Engine, int]] = {}  # and how many use it
        self.num_members = 0  # streams that are to run

    def member(self) -> Opener:
        """What a stream calls in place of `open_engine`."""
        turn = Turn()

        def open_shared(spec: ModelSpec | None, **options: Any) -> Engine:
            # one stream gives each plane all cores; several go side by side, a core each, which needs less waiting of threads
            # for each other: lite x2 of 320x180 took 3.1 to 5.0 ms a plane on two cores so, 6.8 to 8.3 one after another
            if self.num_members > 1:
                options["hint"] = "throughput"
            path = None if spec is None else spec.path
            key = (path, *sorted((name, value) for name, value in options.items()))
            with self._lock:
                engine, users = self._engines.get(key, (None, 0))
                engine = engine or open_engine(spec, **options)
                self._engines[key] = (engine, users + 1)
            return SharedEngine(engine, turn, self._scheduler, close=lambda: self._release(key))

        return open_shared

    def _release(self, key: Hashable) -> None:
        with self._lock:
            engine, users = self._engines.pop(key)
            if users > 1:
                self._engines[key] = (engine, users - 1)
            else:
                engine.close()

    def __len__(self) -> int:
        return len(self._engines)


class SharedEngine:
    """One stream's view of an engine that others use too; implements `streamsr.engines.Engine`."""

    concurrency = 1

    def __init__(self, engine: Engine, turn: Turn, scheduler: Scheduler, *, close: Callable[[], None]) -> None:
        self._engine, self._turn, self._scheduler, self._close = engine, turn, scheduler, close
        self.name, self.device, self.precision, self.reason = engine.name, engine.device, engine.precision, engine.reason
        self.scale, self.bits = engine.scale, engine.bits

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """See `Scheduler.infer`."""
        return self._scheduler.infer(self._turn, self._engine, luma, out, state, chroma)

    def prepare(self, height: int, width: int) -> None:
        self._engine.prepare(height, width)

    def close(self) -> None:
        """The last stream that closes it frees it."""
        self._close()
