"""`streamsr jobs`: what is unfinished in a folder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from media import make_clip, streamsr, upscale

from streamsr.jobs.lease import Lease

CUT = ("--segment-seconds", "1", "--preset", "ultrafast")


@pytest.fixture
def begun(tmp_path: Path, full_after: Callable[[int], AbstractContextManager[None]]) -> Path:
    """A folder with one job that stopped after two of four segments."""
    clip = make_clip(tmp_path / "in.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", num_frames=100)
    with full_after(2):
        assert streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize", *CUT).code == 6
    return tmp_path


def test_job_is_listed_with_its_progress(begun: Path) -> None:
    outcome = streamsr("jobs", begun)
    assert outcome.code == 0
    assert f"{begun / 'out.mkv'}: 50%, 2 of 4 segments, 50 of 100 frames" in outcome.out
    assert "stopped" in outcome.out
    (job,) = json.loads(streamsr("jobs", begun, "--json").out)
    assert (job["num_done"], job["num_segments"], job["num_frames_done"], job["num_frames"]) == (2, 4, 50, 100)
    assert job["input"] == str(begun / "in.mp4")
    assert job["running"] is None


def test_running_job_names_its_process(begun: Path) -> None:
    with Lease(begun / "out.mkv.streamsr", lost=threading.Event()):
        (job,) = json.loads(streamsr("jobs", begun, "--json").out)
        assert f"process {os.getpid()} on " in job["running"]
        assert f"running, process {os.getpid()}" in streamsr("jobs", begun).out


def test_finished_job_is_not_listed(begun: Path) -> None:
    upscale(begun / "in.mp4", begun / "out.mkv", *CUT)
    assert "no unfinished jobs" in streamsr("jobs", begun).out
    assert json.loads(streamsr("jobs", begun, "--json").out) == []


def test_damaged_journal_does_not_hide_the_others(begun: Path) -> None:
    (begun / "bad.mkv.streamsr").mkdir()
    (begun / "bad.mkv.streamsr" / "journal.sqlite").write_bytes(b"nothing" * 1000)
    lines = streamsr("jobs", begun).out.splitlines()
    assert "bad.mkv: its journal cannot be read" in lines[0]
    assert "2 of 4 segments" in lines[1]


def test_folder_that_is_none_is_named(tmp_path: Path) -> None:
    outcome = streamsr("jobs", tmp_path / "none")
    assert outcome.code == 2
    assert "none" in outcome.err
