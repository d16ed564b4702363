"""Workers: several processes give what one gives, and none that dies takes the job along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from media import STREAMSR, make_clip, rows, streamsr, times, tone, upscale

from streamsr.engines import count_threads
from streamsr.jobs.worker_pool import count_workers

pytestmark = pytest.mark.slow
CUT = ("--segment-seconds", "1", "--preset", "veryfast", "--threads", "1")
WAIT_S = 120


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("pool") / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "15", "-bf", "3",
                     "-c:a", "aac", size="160x120", num_frames=400, inputs=tone(16))  # fmt: skip


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    upscale(clip, out, *CUT)
    return out


def start(clip: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [*STREAMSR, "run", str(clip), str(out), "--model", "resize", *CUT, "--workers", "2", *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def children(pid: int) -> list[int]:
    """The worker processes of a run."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def wait_for_children(run: subprocess.Popen[bytes], number: int = 2) -> list[int]:
    end = time.monotonic() + WAIT_S
    while len(found := children(run.pid)) < number:
        assert run.poll() is None, run.stderr and run.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def wait_for_work(run: subprocess.Popen[bytes]) -> int:
    """A worker that has begun to write a segment."""
    end = time.monotonic() + WAIT_S
    while True:
        for pid in children(run.pid):
            if draft_of(pid):
                return pid
        assert run.poll() is None, run.stderr and run.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.002)


def test_two_workers_make_what_one_makes(clip: Path, whole: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "out.mp4", *CUT, "--workers", "2", "--report", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["num_workers"], report["num_segments"]) == (2, 14)
    for stream in ("v:0", "a:0"):
        assert rows(tmp_path / "out.mp4", stream, copy=True) == rows(whole, stream, copy=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "r.json"]


def test_worker_that_is_killed_costs_no_frame(clip: Path, whole: Path, tmp_path: Path) -> None:
    run = start(clip, tmp_path / "out.mp4", "--report", str(tmp_path / "r.json"))
    os.kill(wait_for_work(run), signal.SIGKILL)
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 0, words
    assert "made again, because a worker ended" in " ".join(json.loads((tmp_path / "r.json").read_text())["notes"])
    for stream in ("v:0", "a:0"):
        assert rows(tmp_path / "out.mp4", stream, copy=True) == rows(whole, stream, copy=True)


def test_segment_that_kills_its_worker_thrice_ends_the_job(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    run = start(clip, out)
    over = threading.Event()

    def kill() -> None:
        while not over.is_set():
            for pid in children(run.pid):
                if any(draft_of(pid)):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        _, words = run.communicate(timeout=WAIT_S)
    finally:
        over.set()
        killer.join()
    assert run.returncode == 5, words
    assert b"failed 3 times" in words
    assert b"SIGKILL" in words
    assert not children(run.pid)
    upscale(clip, out, *CUT)
    assert times(out) == times(clip)


def draft_of(pid: int) -> list[str]:
    """The segments that a process is writing."""
    try:
        return [name for name in (os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()) if name.endswith(".draft")]
    except OSError:
        return []


def test_workers_end_when_the_run_is_killed(clip: Path, tmp_path: Path) -> None:
    run = start(clip, tmp_path / "out.mp4")
    pids = wait_for_children(run)
    run.kill()
    run.communicate(timeout=WAIT_S)
    end = time.monotonic() + WAIT_S
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_interrupted_workers_leave_a_partial_file(clip: Path, whole: Path, tmp_path: Path) -> None:
    run = start(clip, tmp_path / "out.mp4")
    wait_for_children(run)
    while run.poll() is None and not any(draft_of(pid) for pid in children(run.pid)):
        time.sleep(0.01)
    time.sleep(0.3)
    run.send_signal(signal.SIGINT)
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 130, words
    done = times(tmp_path / "out.partial.mp4")
    assert done == times(clip)[: len(done)]
    upscale(clip, tmp_path / "out.mp4", *CUT, "--workers", "2")
    assert rows(tmp_path / "out.mp4", copy=True) == rows(whole, copy=True)


def test_what_the_input_does_wrong_ends_all_workers(clip: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", clip, tmp_path / "out.mp4", *CUT, "--workers", "2", "--model", "lite", "--device", "npu9")
    assert outcome.code == 5
    assert "npu9" in outcome.err


def test_workers_without_use_are_named(clip: Path, tmp_path: Path) -> None:
    outcome = upscale(clip, tmp_path / "out.mp4", "--workers", "2", "--frames", "30", "--preset", "ultrafast")
    assert "one worker made the video in one piece" in outcome.err


def test_auto_is_one_a_device_or_one_for_four_cores() -> None:  # of GPUs: tests/device/test_inventory.py
    assert count_workers("auto", ["cuda:0", "cuda:1", "cuda:2"]) == 3
    assert count_workers("auto", ["auto"]) == max(1, count_threads(0) // 4)
    assert count_workers(5, ["cuda:0", "cuda:1"]) == 5
