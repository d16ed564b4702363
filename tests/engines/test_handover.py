"""Handover between fake engines: order, no lost frame, builds and results that fail, an end in the middle of a build."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from fake_device import FakeDevice, FakeDeviceEngine, NumpyArrays

from streamsr.engines import State
from streamsr.engines.handover import DeviceHandover, Handover, find_difference
from streamsr.engines.succession import Size
from streamsr.errors import EngineError, Interrupted

H, W = 4, 6


class FakeEngine:
    """out = luma + the state's only number; the next state is one more. `offset` is added to all codes."""

    device, precision, scale, bits, concurrency = "cpu", "f32", 1, 8, 2

    def __init__(self, name: str, *, offset: int = 0, state_gain: float = 1.0, fails_at: int | None = None) -> None:
        self.name, self.reason = name, f"{name}'s reason"
        self.offset, self.state_gain, self.fails_at = offset, state_gain, fails_at
        self.seen: list[int] = []
        self.prepared: list[Size] = []
        self.closed = 0

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: object = None) -> State:
        self.seen.append(int(luma[0, 0]))
        if self.fails_at is not None and len(self.seen) > self.fails_at:
            raise EngineError(f"{self.name} broke")
        carried = int(state[0].flat[0]) if state else 0
        out[:] = luma + carried + self.offset
        return tuple((array + 1) * self.state_gain for array in state)

    def prepare(self, height: int, width: int) -> None:
        self.prepared.append((height, width))

    def close(self) -> None:
        self.closed += 1


class Stage:
    """A Handover whose build waits until the test lets it end."""

    def __init__(self, made: FakeEngine | Exception) -> None:
        self.slow, self.made = FakeEngine("slow"), made
        self.words: list[str] = []
        self.may_end, self.ended = threading.Event(), threading.Event()
        self.sizes: list[Size] = []
        self.opened = 0
        self.ready: set[Size] = set()
        self.handover = Handover(
            self.open, self.build, scale=1, bits=8, names=("fast", "slow"), say=self.words.append, is_ready=self.ready.__contains__
        )

    def open(self) -> FakeEngine:
        self.opened += 1
        return self.slow

    def build(self, size: Size, stop: threading.Event) -> FakeEngine:
        self.sizes.append(size)
        while not self.may_end.wait(0.005):
            if stop.is_set():
                self.ended.set()
                raise Interrupted("stopped")
        if isinstance(self.made, Exception):
            raise self.made
        return self.made

    def finish(self) -> None:
        """Let the build end, and wait until the handover has taken notice."""
        self.may_end.set()
        until(lambda: self.handover._succession.sizes[H, W].status != "building")

    def show(self, code: int, state: State = (), size: Size = (H, W)) -> tuple[int, State]:
        luma = np.full(size, code, np.uint8)
        out = np.zeros_like(luma)
        following = self.handover.infer(luma, out, state)
        return int(out[0, 0]), following


def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it did not come to be")


def test_frames_go_over_between_two_and_none_is_lost_or_doubled() -> None:
    fast = FakeEngine("fast")
    stage = Stage(fast)
    codes = [stage.show(code)[0] for code in range(3)]
    stage.finish()
    codes += [stage.show(code)[0] for code in range(3, 7)]
    assert codes == list(range(7))
    assert stage.slow.seen == [0, 1, 2, 3]
    assert fast.seen == [3, 4, 5, 6]  # frame 3 ran on both
    assert stage.words == ["fast takes over from slow after frame 4: fast's reason"]
    assert stage.handover.name == "fast"
    assert stage.handover.reason == "fast's reason; on slow up to frame 4"
    stage.handover.close()
    assert (stage.slow.closed, fast.closed) == (1, 1)


def test_the_state_is_carried_over() -> None:
    stage = Stage(FakeEngine("fast"))
    state: State = (np.zeros((1, H, W), np.float32),)
    codes = []
    for index in range(6):
        if index == 2:
            stage.finish()
        code, state = stage.show(100, state)
        codes.append(code)
    assert codes == [100, 101, 102, 103, 104, 105]
    assert stage.handover.name == "fast"
    stage.handover.close()


def test_build_that_fails_is_said_once_and_the_running_engine_stays() -> None:
    stage = Stage(EngineError("no plan for you"))
    stage.show(0)
    stage.finish()
    assert [stage.show(code)[0] for code in (1, 2, 3)] == [1, 2, 3]
    assert stage.words == ["fast does not take over, slow goes on: it cannot be built: no plan for you"]
    assert stage.sizes == [(H, W)]
    assert "could not take over" in stage.handover.reason
    stage.handover.close()


@pytest.mark.parametrize(
    ("fast", "text"),
    [
        (FakeEngine("fast", offset=5), "luma by 5.00 codes of 255 on average"),
        (FakeEngine("fast", state_gain=1.1), "state 0 by 10.0 %"),
        (FakeEngine("fast", fails_at=0), "it failed: fast broke"),
    ],
)
def test_successor_that_disagrees_is_refused_and_said(fast: FakeEngine, text: str) -> None:
    stage = Stage(fast)
    state: State = (np.zeros((1, H, W), np.float32),)
    _, state = stage.show(10, state)
    stage.finish()
    for expected in (11, 12, 13):
        code, state = stage.show(10, state)
        assert code == expected
    assert len(fast.seen) == 1
    assert len(stage.words) == 1
    assert text in stage.words[0]
    assert stage.handover.name == "slow"
    stage.handover.close()
    assert fast.closed == 1


def test_successor_that_fails_later_gives_its_frame_back() -> None:
    fast = FakeEngine("fast", fails_at=2)
    stage = Stage(fast)
    stage.show(0)
    stage.finish()
    assert [stage.show(code)[0] for code in range(1, 6)] == [1, 2, 3, 4, 5]
    assert fast.seen == [1, 2, 3]  # tried, used, broke
    assert stage.slow.seen == [0, 1, 3, 4, 5]
    assert stage.words[1:] == ["fast does not take over, slow goes on: it failed: fast broke"]
    stage.handover.close()


def test_close_in_the_middle_of_a_build_ends_it() -> None:
    stage = Stage(FakeEngine("fast"))
    stage.show(0)
    until(lambda: bool(stage.sizes))
    stage.handover.close()
    assert stage.ended.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "streamsr-succession"]
    assert stage.words == []
    assert stage.slow.closed == 1


def test_close_before_any_frame_starts_nothing() -> None:
    stage = Stage(FakeEngine("fast"))
    stage.handover.close()
    assert stage.sizes == []
    assert (stage.opened, stage.slow.closed) == (0, 0)


def test_kept_plan_runs_from_the_first_frame_and_opens_nothing_else() -> None:
    fast = FakeEngine("fast")
    stage = Stage(fast)
    stage.ready.add((H, W))
    stage.may_end.set()
    assert [stage.show(code)[0] for code in range(3)] == [0, 1, 2]
    assert (fast.seen, stage.opened) == ([0, 1, 2], 0)
    assert stage.handover.reason == "fast's reason"
    stage.handover.close()
    assert fast.closed == 1


def test_each_size_has_its_successor() -> None:
    stage = Stage(FakeEngine("fast"))
    stage.handover.prepare(H, W)
    assert stage.slow.prepared == [(H, W)]
    stage.show(1, size=(8, 8))
    stage.finish()
    until(lambda: stage.handover._succession.sizes[8, 8].status == "built")
    assert stage.sizes == [(H, W), (8, 8)]
    stage.handover.close()


def test_frames_side_by_side_are_all_right() -> None:
    stage = Stage(FakeEngine("fast"))
    results: dict[int, int] = {}

    def work(start: int) -> None:
        for code in range(start, 120, 4):
            results[code] = stage.show(code)[0]
            if code > 40:
                stage.may_end.set()

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {code: code for code in range(120)}
    stage.handover.close()


def test_nan_is_a_difference() -> None:
    plane = np.zeros((2, 2), np.float32)
    state, broken = (np.zeros((1, 2, 2), np.float32),), (np.full((1, 2, 2), np.nan, np.float32),)
    assert "state 0" in find_difference(plane, plane, state, broken, precision="f16")
    assert "luma" in find_difference(plane, plane * np.nan, (), (), precision="int8")
    assert find_difference(plane, plane, state, state, precision="f16") == ""


class DeviceStage:
    """A DeviceHandover between fakes of streamsr.engines.device_engine."""

    def __init__(self, **options: object) -> None:
        self.device, self.words = FakeDevice(), list[str]()
        self.slow = FakeDeviceEngine(self.device)
        self.fast = FakeDeviceEngine(self.device, **options)  # type: ignore[arg-type]
        self.may_end = threading.Event()
        self.handover = DeviceHandover(
            self.slow, self.build, arrays=NumpyArrays(self.device), successor="tensorrt", say=self.words.append
        )
        self.lane = self.slow.open_lane(1, H, W)
        self.states = [self.lane.new_state(), self.lane.new_state()]

    def build(self, size: Size, stop: threading.Event) -> FakeDeviceEngine:
        assert size == (1, H, W)
        while not self.may_end.wait(0.005):
            if stop.is_set():
                raise Interrupted("stopped")
        return self.fast

    def show(self, index: int) -> FakeDeviceEngine | None:
        luma = np.full((1, 1, H, W), index / 16, np.float16)
        out = np.zeros((1, 1, 2 * H, 2 * W), np.float16)
        old, new = self.states[index % 2], self.states[1 - index % 2]
        self.lane.enqueue(luma, out, old, new, stream=3)
        before = [array.copy() for array in old]
        successor = self.handover.check(luma, out, old, new, stream=3)
        self.device.synchronise(3)
        assert not np.isnan(out).any()
        for array, was in zip(old, before, strict=True):
            np.testing.assert_array_equal(array, was)
        return successor  # type: ignore[return-value]

    def finish(self) -> None:
        self.may_end.set()
        until(lambda: self.handover._succession.sizes[1, H, W].status != "building")


def test_pipeline_on_a_device_is_told_once_who_takes_over() -> None:
    stage = DeviceStage()
    stage.handover.begin(1, H, W)
    assert [stage.show(index) for index in range(3)] == [None] * 3
    stage.finish()
    assert stage.show(3) is stage.fast
    assert stage.show(4) is None
    assert stage.words == ["fake takes over from fake after frame 4: f16: a fake"]
    assert not any(lane.is_open for lane in stage.fast.lanes)
    stage.handover.close()
    assert not stage.fast.closed  # it is the pipeline's now


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"gain": 1.1}, "its result differs: luma by"),
        ({"broken": 0}, "it failed: The fake device failed."),
        ({"dtype": "float32"}, ""),
    ],
)
def test_successor_on_a_device_has_to_agree(options: dict[str, object], text: str) -> None:
    stage = DeviceStage(**options)
    stage.handover.begin(1, H, W)
    stage.show(8)
    stage.finish()
    taken = stage.show(9)
    assert (taken is None) == bool(text)
    assert text in stage.words[0]
    stage.handover.close()
    assert stage.fast.closed == bool(text)


def test_build_for_a_device_ends_with_it() -> None:
    stage = DeviceStage()
    stage.handover.begin(1, H, W)
    stage.show(0)
    stage.handover.close()
    assert stage.words == []
    assert not stage.fast.closed
