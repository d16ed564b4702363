"""The encoder on its own thread: while it blocks the GPU goes on, up to a bound; errors, order, times and the end are the main path's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from machine import CPU, GPU, Machine
from media import make_clip, rows, streamsr, times
from simulation import SimDevice

import streamsr as library
from streamsr.device.device_selection import FRAMES_IN_FLIGHT
from streamsr.device.frame_slot import Slot
from streamsr.errors import SinkError
from streamsr.io.sink import Sink
from streamsr.jobs.segment_writer import SegmentWriter
from streamsr.pipeline import DONE

NUM_FRAMES = 30
WAIT_S = 20.0
WAYS = {"in one piece": (Sink, "0"), "in segments": (SegmentWriter, "0.6")}


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    return make_clip(folder / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", num_frames=NUM_FRAMES)


def wrap(monkeypatch: pytest.MonkeyPatch, kind: type, before: Callable[[int], None]) -> None:
    """`before` is called with the number of each frame that the encoder is given."""
    write, count = kind.write, iter(range(10**6))  # type: ignore[attr-defined]

    def wrapped(writer: Any, frame: av.VideoFrame) -> None:
        before(next(count))
        write(writer, frame)

    monkeypatch.setattr(kind, "write", wrapped)


def num_launched(machine: Machine) -> int:
    return sum(what == "network" for _, what in list(machine.sim.log))


@pytest.mark.parametrize("way", WAYS)
def test_the_gpu_goes_on_while_the_encoder_blocks(
    machine: Machine, model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    kind, segment_seconds = WAYS[way]
    threads: dict[str, set[int]] = {"encode": set(), "launch": set()}
    put, most = SimDevice.put, []

    def noted(*args: Any, **options: Any) -> None:
        threads["launch"].add(threading.get_ident())
        put(*args, **options)

    def block(number: int) -> None:
        threads["encode"].add(threading.get_ident())
        if number == 3:
            # three are encoded, one is in hand; those behind it wait in the queue, in hand of the thread that launches, and in flight
            behind = 4 + DONE + 1
            wait_until(lambda: num_launched(machine) >= behind)
            time.sleep(0.05)
            most.append(num_launched(machine) - behind)

    monkeypatch.setattr(SimDevice, "put", noted)
    wrap(monkeypatch, kind, block)
    out = tmp_path / "out.mkv"
    outcome = streamsr("run", clip, out, "--model", model, *GPU, "--segment-seconds", segment_seconds)
    assert outcome.code == 0, outcome.err
    assert "account balanced" in outcome.err
    assert 0 <= most[0] <= FRAMES_IN_FLIGHT + 1
    assert len(threads["encode"]) == len(threads["launch"]) == 1
    assert threads["encode"] != threads["launch"]
    assert machine.sim.used == 0
    outcome = streamsr("run", clip, tmp_path / "cpu.mkv", "--model", model, *CPU, "--segment-seconds", segment_seconds)
    assert outcome.code == 0, outcome.err
    assert times(out) == times(clip)
    assert rows(out) == rows(tmp_path / "cpu.mkv")


@pytest.mark.parametrize("way", WAYS)
def test_the_host_waits_for_one_frame_while_others_are_on_the_gpu(
    machine: Machine, model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """One wait a frame, by the thread that launches, for the oldest of those in flight; none by the one that encodes."""
    kind, segment_seconds = WAYS[way]
    encode, waits, num_finished = set(), [], 0
    finish = Slot.finish

    def noted(slot: Slot) -> Any:
        nonlocal num_finished
        if not machine.sim.is_past(slot.end):
            waits.append((threading.get_ident(), num_launched(machine) - num_finished))
        num_finished += 1
        return finish(slot)

    monkeypatch.setattr(Slot, "finish", noted)
    wrap(monkeypatch, kind, lambda number: encode.add(threading.get_ident()))
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", model, *GPU, "--segment-seconds", segment_seconds)
    assert outcome.code == 0, outcome.err
    assert num_finished == NUM_FRAMES
    assert {thread for thread, _ in waits}.isdisjoint(encode)
    num_drains = 1 if way == "in one piece" else 3
    last = [number for _, number in waits if number < FRAMES_IN_FLIGHT]  # where nothing follows
    assert len(last) <= (FRAMES_IN_FLIGHT - 1) * num_drains
    assert len(waits) > len(last)


@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_encoder_ends_the_run_with_what_was_encoded(
    machine: Machine, model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    kind, segment_seconds = WAYS[way]

    def fail(number: int) -> None:
        if number == 5:
            raise SinkError("the simulated encoder failed")

    wrap(monkeypatch, kind, fail)
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--model", model, *GPU, "--segment-seconds", segment_seconds)
    assert outcome.code == 6
    assert "the simulated encoder failed" in outcome.err
    assert "the first 5 frames are in" in outcome.err
    assert times(tmp_path / "out.partial.mp4") == times(clip)[:5]
    assert not (tmp_path / "out.mp4").exists()
    assert machine.sim.used == 0
    assert machine.sim.is_closed
    assert not any(stream.queue for stream in machine.sim.streams)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_ends_the_run_ends_the_thread_first(
    machine: Machine, model: Path, clip: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    def end(progress: Any) -> None:
        if progress.num_frames == 4:
            raise error

    before = threading.active_count()
    with pytest.raises(error):
        library.run(
            clip, tmp_path / "out.mp4", model=str(model), engine="torch", device="cuda:0", threads=1, on_progress=end,
        )  # fmt: skip
    assert machine.sim.used == 0
    assert machine.sim.is_closed
    assert not (tmp_path / "out.mp4").exists()
    wait_until(lambda: threading.active_count() <= before)


def test_a_judge_that_fails_on_that_thread_is_the_runs_error(machine: Machine, model: Path, clip: Path, tmp_path: Path) -> None:
    seen = []

    def check(source: av.VideoFrame, result: av.VideoFrame) -> None:
        seen.append((source.pts, result.pts))
        if len(seen) == 6:
            raise SinkError("the judge has had enough")

    with pytest.raises(SinkError, match="had enough"):
        library.run(clip, tmp_path / "out.mp4", model=str(model), engine="torch", device="cuda:0", threads=1, check=check)
    assert all(mine == theirs for mine, theirs in seen)
    assert machine.sim.used == 0
