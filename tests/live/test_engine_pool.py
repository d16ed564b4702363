"""Engines that several streams share: whose turn it is, what goes along in a batch, and whose failure a failure is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from streamsr.engines import BatchEngine, open_engine
from streamsr.engines.openvino_engine import OpenVinoEngine
from streamsr.errors import EngineError
from streamsr.live.engine_pool import EnginePool, Scheduler, Turn
from streamsr.models import find_model


class Recorder:
    """An engine that doubles by repetition, and notes the batches it was given; it holds on while `gate` is closed."""

    name, device, precision, reason, scale, bits, concurrency = "recorder", "cpu", "f32", "", 2, 8, 1

    def __init__(self, max_batch: int = 4) -> None:
        self.max_batch = max_batch
        self.batches: list[list[int]] = []
        self.gate = threading.Event()

    def infer(self, luma: np.ndarray, out: np.ndarray, state: tuple[np.ndarray, ...] = (), chroma: object = None) -> tuple[np.ndarray, ...]:
        self.infer_batch([luma], [out])
        return tuple(part + 1 for part in state)

    def infer_batch(self, lumas: Sequence[np.ndarray], outs: Sequence[np.ndarray]) -> None:
        self.batches.append([int(luma[0, 0]) for luma in lumas])
        assert self.gate.wait(30)
        for luma, out in zip(lumas, outs, strict=True):
            if luma[0, 0] == 13:
                raise EngineError("thirteen")
            out[:] = luma.repeat(2, 0).repeat(2, 1)

    def prepare(self, height: int, width: int) -> None: ...

    def close(self) -> None: ...


class Streams:
    """Threads that each want one plane of their own number enlarged."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.outs: dict[int, np.ndarray] = {}
        self.errors: dict[int, Exception] = {}
        self.states: dict[int, list[float]] = {}
        self._threads: list[threading.Thread] = []

    def want(
        self, engine: Recorder, number: int, *, shape: tuple[int, int] = (4, 6), used_s: float = 0.0, state: float | None = None
    ) -> None:
        given = () if state is None else (np.full((1, 4, 6), state, np.float32),)

        def work() -> None:
            out = np.zeros((shape[0] * 2, shape[1] * 2), np.uint8)
            try:
                following = self.scheduler.infer(Turn(used_s), engine, np.full(shape, number, np.uint8), out, given)
                self.outs[number] = out
                self.states[number] = [float(part.max()) for part in following]
            except EngineError as error:
                self.errors[number] = error

        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end
        time.sleep(0.005)


def one_runs_and_others_wait(streams: Streams, engine: Recorder, others: Sequence[Callable[[], None]]) -> None:
    """Number 1 is in the engine until all others wait for their turn."""
    streams.want(engine, 1)
    until(lambda: engine.batches == [[1]])
    for count, other in enumerate(others, 1):
        other()
        until(lambda count=count: len(streams.scheduler._waiting) == count)
    engine.gate.set()
    streams.wait()


def test_what_waits_goes_along_and_nobody_waits_for_more() -> None:
    engine, streams = Recorder(max_batch=3), Streams(Scheduler(1))
    assert isinstance(engine, BatchEngine)
    one_runs_and_others_wait(streams, engine, [lambda number=number: streams.want(engine, number) for number in (2, 3, 4, 5)])
    assert [len(batch) for batch in engine.batches] == [1, 3, 1]
    for number in (1, 2, 3, 4, 5):
        assert (streams.outs[number] == number).all()


def test_another_size_or_model_is_not_in_the_batch() -> None:
    engine, other, streams = Recorder(), Recorder(), Streams(Scheduler(1))
    other.gate.set()
    one_runs_and_others_wait(
        streams, engine,
        [lambda: streams.want(engine, 2), lambda: streams.want(engine, 3, shape=(6, 4)), lambda: streams.want(other, 4),
         lambda: streams.want(engine, 5)],
    )  # fmt: skip
    assert sorted(engine.batches) == [[1], [2, 5], [3]]
    assert other.batches == [[4]]


def test_a_plane_with_a_state_goes_alone_and_gets_its_own_back() -> None:
    engine, streams = Recorder(), Streams(Scheduler(1))
    wants = [lambda: streams.want(engine, 2, state=20), lambda: streams.want(engine, 3, state=30), lambda: streams.want(engine, 4)]
    one_runs_and_others_wait(streams, engine, [*wants, lambda: streams.want(engine, 5)])
    assert sorted(engine.batches) == [[1], [2], [3], [4, 5]]
    assert streams.states == {1: [], 2: [21.0], 3: [31.0], 4: [], 5: []}


def test_an_engine_without_batches_gets_one_at_a_time() -> None:
    engine, streams = Recorder(max_batch=1), Streams(Scheduler(1))
    one_runs_and_others_wait(streams, engine, [lambda: streams.want(engine, 2), lambda: streams.want(engine, 3)])
    assert sorted(engine.batches) == [[1], [2], [3]]


def test_who_had_least_is_next() -> None:
    engine, streams = Recorder(max_batch=1), Streams(Scheduler(1))
    used = {2: 9.0, 3: 7.0, 4: 8.0}
    wants = [lambda number=number: streams.want(engine, number, used_s=used[number]) for number in used]
    one_runs_and_others_wait(streams, engine, wants)
    assert engine.batches == [[1], [3], [4], [2]]


def test_who_was_idle_has_no_claim_on_the_past() -> None:
    engine, scheduler = Recorder(), Scheduler(1)
    engine.gate.set()
    busy, idle = Turn(100.0), Turn()
    plane, out = np.zeros((4, 6), np.uint8), np.zeros((8, 12), np.uint8)
    scheduler.infer(busy, engine, plane, out)
    scheduler.infer(idle, engine, plane, out)
    assert idle.used_s >= 100


def test_a_failure_in_a_batch_is_one_streams() -> None:
    engine, streams = Recorder(), Streams(Scheduler(1))
    one_runs_and_others_wait(streams, engine, [lambda number=number: streams.want(engine, number) for number in (2, 13, 4)])
    assert streams.outs.keys() == {1, 2, 4}
    assert str(streams.errors[13]) == "thirteen"


def test_slots_run_side_by_side() -> None:
    engine, streams = Recorder(max_batch=1), Streams(Scheduler(2))
    for number in (1, 2, 3):
        streams.want(engine, number)
    until(lambda: len(engine.batches) == 2)
    until(lambda: len(streams.scheduler._waiting) == 1)
    engine.gate.set()
    streams.wait()
    assert len(engine.batches) == 3


def test_a_pool_opens_each_engine_once_and_closes_it_with_its_last_user() -> None:
    pool = EnginePool()
    pool.num_members = 2
    spec = find_model("lite-clean", 2)
    first, second = pool.member(), pool.member()
    engines = [opener(spec, bits=8, hint="latency") for opener in (first, second)]
    wide = first(spec, bits=10, hint="latency")
    assert len(pool) == 2
    luma = np.random.default_rng(1).integers(0, 256, (40, 60), np.uint8)
    alone = open_engine(spec, bits=8)
    outs = [np.zeros((80, 120), np.uint8) for _ in range(3)]
    for engine, out in zip([*engines, alone], outs, strict=True):
        engine.infer(luma, out)
    assert (outs[0] == outs[2]).all()
    assert (outs[1] == outs[2]).all()
    engines[0].close()
    assert len(pool) == 2
    engines[1].close()
    wide.close()
    assert len(pool) == 0


@pytest.mark.parametrize(("bits", "precision"), [(8, "f32"), (8, "int8"), (10, "f32")])
def test_a_batch_gives_what_single_planes_give(bits: int, precision: str) -> None:
    engine = open_engine(find_model("lite-clean", 2), bits=bits, engine="openvino", precision=precision)  # type: ignore[arg-type]
    assert isinstance(engine, OpenVinoEngine)
    rng = np.random.default_rng(2)
    dtype = np.uint8 if bits == 8 else np.uint16
    lumas = [rng.integers(0, 1 << bits, (36, 50)).astype(dtype) for _ in range(7)]
    batched = [np.zeros((72, 100), dtype) for _ in lumas]
    engine.infer_batch(lumas, batched)
    for luma, out in zip(lumas, batched, strict=True):
        alone = np.zeros_like(out)
        engine.infer(luma, alone)
        assert np.abs(alone.astype(int) - out).max() <= 1  # a batch may be summed in another order
        assert (alone == out).mean() > 0.999
