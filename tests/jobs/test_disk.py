"""Disks that are full or closed: a clear error, and the same command goes on once there is room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from media import make_clip, streamsr, times, upscale

CUT = ("--model", "resize", "--segment-seconds", "1", "--encoder", "libx264", "--crf", "0", "--preset", "ultrafast")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "streamsr", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("room", ["segments", "join"])
def test_job_goes_on_when_there_is_room_again(tmp_path: Path, disk: Path, room: str) -> None:
    """The disk is full while a segment is made, or not before the join, which needs the space a second time."""
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", size="96x64", num_frames=100)
    upscale(clip, tmp_path / "whole.mkv", *CUT)
    size = (tmp_path / "whole.mkv").stat().st_size
    megabytes = size * (0.6 if room == "segments" else 1.4) / 2**20
    subprocess.run(["mount", "-o", f"remount,size={int(megabytes * 2**20) + 60_000}", str(disk)], check=True)
    out = disk / "out.mkv"
    outcome = streamsr("run", clip, out, *CUT)
    assert outcome.code == 6, outcome.err
    assert "the disk is full" in outcome.err
    assert "same command" in outcome.err
    assert "Traceback" not in outcome.err
    assert not out.exists()
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
    upscale(clip, out, *CUT)
    assert times(out) == times(clip)
    assert [path.name for path in disk.iterdir()] == ["out.mkv"]


def test_read_only_folder_is_named(tmp_path: Path, disk: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-g", "25", num_frames=100)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    outcome = streamsr("run", clip, disk / "out.mkv", *CUT)
    assert outcome.code == 6
    assert "no permission to write" in outcome.err


def test_folder_that_becomes_read_only_keeps_the_job(tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamsr.jobs.journal import Journal

    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", num_frames=100)
    record = Journal.record

    def close(self: Journal, result: object) -> None:
        record(self, result)  # type: ignore[arg-type]
        monkeypatch.setattr(os, "replace", deny)

    def deny(*_: object) -> None:
        raise OSError(30, os.strerror(30))

    monkeypatch.setattr(Journal, "record", close)
    outcome = streamsr("run", clip, disk / "out.mkv", *CUT)
    monkeypatch.undo()
    assert outcome.code == 6
    assert "1 of 4 segments are done" in outcome.err
    upscale(clip, disk / "out.mkv", *CUT)
    assert times(disk / "out.mkv") == times(clip)
