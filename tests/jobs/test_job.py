"""Jobs: the result in segments is the result in one piece, whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import pytest
from media import STREAMSR, describe, gray_pictures, make_clip, packets, rows, streamsr, times, tone, upscale

from streamsr.errors import SinkError

SIZE = (128, 96)  # of the results
CUT = ("--segment-seconds", "1", "--preset", "veryfast")
WAIT_S = 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds with audio and B-frames, a key frame each 0.6 s."""
    return make_clip(tmp_path_factory.mktemp("job") / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "15", "-bf", "3",
                     "-c:a", "aac", num_frames=200, inputs=tone(8))  # fmt: skip


@pytest.fixture(scope="module")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same command's result when nothing interrupts it."""
    out = tmp_path_factory.mktemp("whole") / "out.mp4"
    upscale(clip, out, *CUT)
    return out


def same_packets(a: Path, b: Path) -> bool:
    return all(rows(a, stream, copy=True) == rows(b, stream, copy=True) for stream in ("v:0", "a:0"))


def report(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "r.json").read_text()))


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts", "webm"])
def test_result_in_segments_is_that_in_one_piece(clip: Path, tmp_path: Path, suffix: str) -> None:
    encode = ["--encoder", "libvpx-vp9", "--preset", "8"] if suffix == "webm" else ["--preset", "veryfast"]
    a, b = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    upscale(clip, a, *encode, "--segment-seconds", "1", "--report", tmp_path / "r.json")
    upscale(clip, b, *encode, "--segment-seconds", "0")
    assert report(tmp_path)["num_segments"] == 7
    assert times(a) == times(b)
    assert packets(a, "a:0") == packets(b, "a:0")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}", "r.json"]
    for one, other in zip(gray_pictures(a, *SIZE), gray_pictures(b, *SIZE), strict=True):
        assert psnr(one, other) > 40  # both at crf 18: the seams change what the encoder decides, not what it is given


def test_pictures_do_not_depend_on_segments(clip: Path, tmp_path: Path) -> None:
    for name, seconds in (("a.mkv", "1"), ("b.mkv", "0")):
        upscale(clip, tmp_path / name, "--encoder", "ffv1", "--segment-seconds", seconds, model="lite")
    assert gray_pictures(tmp_path / "a.mkv", *SIZE) == gray_pictures(tmp_path / "b.mkv", *SIZE)


def psnr(a: bytes, b: bytes) -> float:
    error = np.mean((np.frombuffer(a, np.uint8).astype(float) - np.frombuffer(b, np.uint8)) ** 2)
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def test_short_file_has_no_work_folder(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: pytest.fail("a folder was made"))
    upscale(clip, tmp_path / "out.mp4", "--preset", "veryfast", "--report", tmp_path / "r.json")
    assert report(tmp_path)["num_segments"] == 1


def test_range_is_cut_too(clip: Path, tmp_path: Path) -> None:
    for name, seconds in (("a.mkv", "1"), ("b.mkv", "0")):
        upscale(clip, tmp_path / name, "--start", "1.3", "--end", "6.1", "--segment-seconds", seconds, "--preset", "ultrafast")
        assert len(times(tmp_path / name)) == 120
    assert rows(tmp_path / "a.mkv", "a:0", copy=True) == rows(tmp_path / "b.mkv", "a:0", copy=True)
    assert times(tmp_path / "a.mkv") == times(tmp_path / "b.mkv")


def start(clip: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [*STREAMSR, "run", str(clip), str(out), "--model", "resize", *CUT, *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_segments(out: Path, run: subprocess.Popen[bytes], number: int) -> None:
    """Until the journal names so many."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            with sqlite3.connect(f"file:{out}.streamsr/journal.sqlite?mode=ro", uri=True) as db:
                (found,) = db.execute("SELECT count(*) FROM segment WHERE result IS NOT NULL").fetchone()
        except sqlite3.Error:
            found = 0
        if found >= number:
            return
        assert run.poll() is None, run.stderr and run.stderr.read()
        time.sleep(0.005)
    pytest.fail("no segment was finished")


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 3, 6])
def test_killed_job_goes_on_and_gives_the_same_packets(clip: Path, whole: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "out.mp4"
    run = start(clip, out)
    wait_for_segments(out, run, number)
    time.sleep(0.05 * number)
    run.kill()
    run.communicate(timeout=WAIT_S)
    if out.exists():  # named before the signal came: what is left of the work folder goes with the next command
        assert "exists" in streamsr("run", clip, out, "--model", "resize", *CUT).err
    else:
        upscale(clip, out, *CUT, "--report", tmp_path / "r.json")
        resumed = report(tmp_path)["num_resumed"]
        assert isinstance(resumed, int)
        assert resumed >= number
    assert same_packets(out, whole)
    assert not Path(f"{out}.streamsr").exists()


@pytest.mark.slow
def test_interrupted_job_leaves_a_partial_file_that_plays_and_goes_on(clip: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    run = start(clip, out)
    wait_for_segments(out, run, 2)
    run.send_signal(signal.SIGINT)
    _, words = run.communicate(timeout=WAIT_S)
    assert run.returncode == 130, words
    assert b"the same command goes on" in words
    partial = tmp_path / "out.partial.mp4"
    assert 50 <= len(times(partial)) < 200
    assert times(partial) == times(clip)[: len(times(partial))]
    assert f"first {len(times(partial))} frames".encode() in words
    assert "Audio: aac" in describe(partial)
    upscale(clip, out, *CUT)
    assert same_packets(out, whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4"]


@pytest.fixture
def begun(clip: Path, tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]) -> Path:
    """The output of a job that a full disk has stopped in its fourth segment."""
    out = tmp_path / "out.mp4"
    with full_after(3):
        outcome = streamsr("run", clip, out, "--model", "resize", *CUT)
    assert outcome.code == 6
    assert "the disk is full" in outcome.err
    assert "3 of 7 segments are done, the same command goes on" in outcome.err
    return out


def test_full_disk_keeps_what_is_done(clip: Path, whole: Path, begun: Path, tmp_path: Path) -> None:
    assert not begun.exists()
    upscale(clip, begun, *CUT, "--report", tmp_path / "r.json")
    assert report(tmp_path)["num_resumed"] == 3
    assert same_packets(begun, whole)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scale", "3"], "--scale was 2, is 3"),
        (["--crf", "30"], "--crf was 18, is 30"),
        (["--model", "lite"], "--model was resize, is lite"),
        (["--encoder-option", "tune=film"], "tune"),
        (["--start", "1"], "--start was None, is 1"),
        (["--segment-seconds", "0"], "in one piece"),
    ],
)
def test_changed_option_is_named(clip: Path, begun: Path, options: list[str], words: str) -> None:
    extra = [] if "--model" in options else ["--model", "resize"]
    outcome = streamsr("run", clip, begun, *CUT, *extra, *options)
    assert outcome.code == 2
    assert words in outcome.err
    assert "--restart" in outcome.err
    assert len(list(Path(f"{begun}.streamsr").glob("0*"))) >= 3


def test_changed_input_is_named(clip: Path, begun: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(clip.read_bytes())
    outcome = streamsr("run", copy, begun, "--model", "resize", *CUT)
    assert outcome.code == 2
    assert "input was" in outcome.err
    before = clip.stat()
    os.utime(clip, (before.st_atime, before.st_mtime + 1))
    try:
        outcome = streamsr("run", clip, begun, "--model", "resize", *CUT)
    finally:
        os.utime(clip, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert outcome.code == 2
    assert "time of the input has changed" in outcome.err


@pytest.mark.parametrize("seconds", ["1", "0"])
def test_restart_throws_the_job_away(clip: Path, begun: Path, tmp_path: Path, seconds: str) -> None:
    upscale(clip, begun, *CUT, "--segment-seconds", seconds, "--crf", "30", "--restart", "--report", tmp_path / "r.json")
    assert report(tmp_path)["num_resumed"] == 0
    assert not Path(f"{begun}.streamsr").exists()


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 2), (b"\n", 2)])
def test_terminal_is_asked_before_a_job_is_thrown_away(clip: Path, begun: Path, answer: bytes, code: int) -> None:
    import pty

    parent, child = pty.openpty()
    command = [*STREAMSR, "run", str(clip), str(begun), "--model", "resize", *CUT, "--crf", "30"]
    run = subprocess.Popen(command, stdin=child, stdout=child, stderr=child)
    os.close(child)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(parent, 1000)
    os.write(parent, answer)
    with suppress(OSError):  # the end of a terminal
        while data := os.read(parent, 1000):
            said += data
    os.close(parent)
    assert run.wait(WAIT_S) == code, said
    assert b"--crf was 18, is 30" in said
    assert begun.exists() == (code == 0)


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_damaged_segment_is_made_again(clip: Path, whole: Path, begun: Path, tmp_path: Path, damage: str) -> None:
    parcel = next(Path(f"{begun}.streamsr").glob("00001-????????"))
    data = bytearray(parcel.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        parcel.unlink()
    else:
        parcel.write_bytes(data if damage == "changed" else data[:-1])
    outcome = upscale(clip, begun, *CUT, "--report", tmp_path / "r.json")
    assert "segment 1 was damaged" in outcome.err
    assert report(tmp_path)["num_resumed"] == 2
    assert same_packets(begun, whole)


def test_damaged_journal_is_named(clip: Path, begun: Path) -> None:
    Path(f"{begun}.streamsr/journal.sqlite").write_bytes(b"no journal" * 1000)
    outcome = streamsr("run", clip, begun, "--model", "resize", *CUT)
    assert outcome.code == 6
    assert "--restart" in outcome.err
    upscale(clip, begun, *CUT, "--restart")
    assert times(begun) == times(clip)


def test_segments_with_other_parameters_are_not_joined(clip: Path, begun: Path) -> None:
    with sqlite3.connect(f"{begun}.streamsr/journal.sqlite") as db:
        (words,) = db.execute("SELECT result FROM segment WHERE number = 1").fetchone()
        changed = json.dumps(json.loads(words) | {"parameters": "00"})
        db.execute("UPDATE segment SET result = ? WHERE number = 1", (changed,))
    outcome = streamsr("run", clip, begun, "--model", "resize", *CUT)
    assert outcome.code == 6
    assert "Segment 1 has other libx264 parameters" in outcome.err
    assert not begun.exists()


def test_bit_rate_runs_in_one_piece(clip: Path, tmp_path: Path) -> None:
    upscale(clip, tmp_path / "out.mp4", *CUT, "--encoder-option", "b=500k", "--report", tmp_path / "r.json")
    assert report(tmp_path)["num_segments"] == 1


def test_journal_error_names_the_folder(tmp_path: Path) -> None:
    from streamsr.jobs.journal import Journal

    (tmp_path / "journal.sqlite").mkdir()
    with pytest.raises(SinkError, match=r"journal\.sqlite"):
        Journal(tmp_path)
