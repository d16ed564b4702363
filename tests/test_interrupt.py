"""Ctrl-C, SIGTERM and SIGKILL of a run in one piece: what is done plays, and nothing unfinished has the final name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from media import STREAMSR, describe, make_clip, times, tone, upscale

from streamsr.commands.signals import stop_on_signals

pytestmark = pytest.mark.slow

WAIT_S = 30  # long past anything that ends by itself, on a busy machine


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough that a signal arrives in the middle."""
    return make_clip(tmp_path_factory.mktemp("signal") / "in.mkv", "-c:a", "aac", size="320x240", num_frames=2500, inputs=tone(100))


def start(*arguments: object, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    slow = ["--model", "resize", "--scale", "2", "--preset", "veryfast", "--crf", "18", "--segment-seconds", "0"]  # no limit on bits
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup a child would inherit that it is ignored
    try:
        command = [*STREAMSR, "run", *map(str, arguments), *slow]
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGHUP, before)


def wait_for(path: Path, run: subprocess.Popen[bytes], size: int = 20_000) -> None:
    """Until a file has grown."""
    end = time.monotonic() + WAIT_S
    while not (path.exists() and path.stat().st_size > size):
        assert run.poll() is None, run.stderr and run.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "suffix"), [(signal.SIGINT, "mp4"), (signal.SIGINT, "mkv"), (signal.SIGTERM, "mp4"), (signal.SIGHUP, "mkv")]
)
def test_signal_leaves_a_partial_file_that_plays(clip: Path, tmp_path: Path, number: int, suffix: str) -> None:
    partial = tmp_path / f"out.partial.{suffix}"
    run = start(clip, tmp_path / f"out.{suffix}")
    wait_for(partial, run, 0 if suffix == "mp4" else 20_000)
    time.sleep(0.5)
    run.send_signal(number)
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 130, words
    assert b"Traceback" not in words
    assert str(partial).encode() in words
    assert [path.name for path in tmp_path.iterdir()] == [partial.name]
    done = times(partial)
    assert 1 <= len(done) < 2500
    assert done == times(clip)[: len(done)]
    assert f"first {len(done)} frames".encode() in words
    assert "Audio: aac" in describe(partial)


def test_killed_run_leaves_no_final_file_and_can_be_run_again(clip: Path, tmp_path: Path) -> None:
    run = start(clip, tmp_path / "out.mp4")
    wait_for(tmp_path / "out.partial.mp4", run, 0)
    run.kill()
    run.communicate(timeout=WAIT_S)
    assert not (tmp_path / "out.mp4").exists()
    upscale(clip, tmp_path / "out.mp4", "--frames", "5")
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_two_signals_within_a_moment_are_one(clip: Path, tmp_path: Path) -> None:
    """`timeout -s INT` sends one to the process and one to its group."""
    run = start(clip, tmp_path / "out.mkv")
    wait_for(tmp_path / "out.partial.mkv", run)
    run.send_signal(signal.SIGINT)
    time.sleep(0.001)
    run.send_signal(signal.SIGINT)
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 130, words
    assert b"Traceback" not in words
    assert f"first {len(times(tmp_path / 'out.partial.mkv'))} frames".encode() in words


SIGNALS = """
import signal, time
from streamsr.commands.signals import AGAIN_S, stop_on_signals
stop = stop_on_signals()
signal.raise_signal(signal.SIGTERM)
assert stop.is_set()
signal.raise_signal(signal.SIGINT)  # too soon
now = time.monotonic()
time.monotonic = lambda: now + 2 * AGAIN_S
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("at once")
"""


def test_second_signal_a_second_later_ends_at_once() -> None:
    """In a process of its own: a signal that gets through would end the tests."""
    done = subprocess.run([sys.executable, "-c", SIGNALS], capture_output=True, check=False, timeout=WAIT_S)
    assert (done.returncode, done.stdout) == (0, b"at once\n"), done.stderr


def test_nohup_keeps_its_promise() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_live_stream_that_is_stopped_before_its_first_picture_ends_well(tmp_path: Path) -> None:
    run = subprocess.Popen([*STREAMSR, "run", "tcp://127.0.0.1:1", str(tmp_path / "out.ts")], stderr=subprocess.PIPE)
    assert run.stderr is not None
    assert b"source lost" in run.stderr.readline()
    run.send_signal(signal.SIGTERM)
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 0, words
    assert b"stopped before its first picture" in words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_wait_for_a_pipe_that_says_nothing(tmp_path: Path, number: int) -> None:
    run = start("-", tmp_path / "out.mkv", stdin=subprocess.PIPE)
    time.sleep(2.5)
    run.send_signal(number)
    try:
        assert run.wait(10) == 130
    finally:
        run.kill()
        run.communicate()
    assert not list(tmp_path.iterdir())


def test_signal_ends_the_wait_for_a_pipe_that_stalls(clip: Path, tmp_path: Path) -> None:
    run = start("-", tmp_path / "out.mkv", stdin=subprocess.PIPE)
    assert run.stdin is not None
    data = clip.read_bytes()
    run.stdin.write(data[:300_000])
    run.stdin.flush()
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end and not (tmp_path / "out.partial.mkv").exists():
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(run.pid, signal.SIGINT)
    try:
        assert run.wait(10) == 130, run.stderr and run.stderr.read()
    finally:
        run.kill()
        run.communicate()
    assert len(times(tmp_path / "out.partial.mkv")) > 10
