"""A live stream into files that are cut by time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from media import make_clip, streamsr, times
from servers import Live

from streamsr.errors import SinkError, UsageError
from streamsr.live.segment_names import free_path, name_file, next_number
from streamsr.options import LiveOptions

RATE = 10
PATIENT = LiveOptions(max_latency_s=5, segment_s=2)
AUDIO = ["-f", "lavfi", "-i", "anoisesrc=sample_rate=48000:seed=1:duration=7"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven seconds with audio."""
    path = tmp_path_factory.mktemp("recording") / "in.mp4"
    return make_clip(path, "-c:a", "aac", "-shortest", size="64x48", rate=str(RATE), num_frames=7 * RATE, inputs=AUDIO)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts"])
def test_each_file_plays_on_its_own_and_nothing_is_lost(clip: Path, tmp_path: Path, ending: str) -> None:
    (tmp_path / f"cam-00006.{ending}").write_bytes(b"of an earlier run")
    with Live(str(clip), tmp_path / f"cam-%05d.{ending}", live=PATIENT) as live:
        report = live.wait()
    assert report.ended_by == "source"
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"cam-{number:05d}.{ending}" for number in range(6, 11)]
    assert files[0].read_bytes() == b"of an earlier run"
    shown, heard_s = [], 0.0
    for file in files[1:]:
        pictures, audio_streams = times(file), times(file, "a:0")
        assert min(pictures[0], audio_streams[0]) == pytest.approx(0, abs=0.05)
        assert abs(pictures[0] - audio_streams[0]) < 0.15
        assert abs(pictures[-1] - audio_streams[-1]) < 0.15
        shown.append(len(pictures))
        heard_s += len(audio_streams) * 1024 / 48000
    assert sum(shown) == report.num_out
    assert shown[:-1] == [2 * RATE] * 3
    assert abs(heard_s - sum(shown) / RATE) < 0.3


@pytest.mark.slow
def test_a_killed_recording_keeps_what_is_complete_and_never_a_half_under_a_final_name(clip: Path, tmp_path: Path) -> None:
    pattern = str(tmp_path / "%Y" / "cam-%H%M%S.mp4")
    options = ["--segment-time", "2s", "--model", "resize", "--max-latency", "5000", "--quiet"]
    command = [sys.executable, "-m", "streamsr", "run", "--live", clip, pattern, *options]
    process = subprocess.Popen([str(part) for part in command])
    end = time.monotonic() + 60
    while not (done := [file for file in tmp_path.rglob("cam-*.mp4") if "partial" not in file.name]):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.wait()
    pictures = times(done[0])
    assert pictures[0] == 0
    assert pictures[-1] < 2 + 1 / RATE  # how many there are depends on the machine
    # the process that writes sees that the other has gone, and ends its file in order
    while list(tmp_path.rglob("*.partial.mp4")):
        assert time.monotonic() < end
        time.sleep(0.05)
    for file in tmp_path.rglob("cam-*.mp4"):
        assert times(file)


def test_numbers_go_on_and_names_are_never_used_twice(tmp_path: Path) -> None:
    pattern = str(tmp_path / "a-%Y-%03d.mp4")
    assert next_number(pattern) == 0
    (tmp_path / "a-2026-007.mp4").touch()
    (tmp_path / "a-2026-011.partial.mp4").touch()
    (tmp_path / "b-2026-100.mp4").touch()
    assert next_number(pattern) == 12
    assert name_file("%d-%03d-%%03d.mp4", 5, time.mktime((2026, 11, 23, 0, 0, 0, 0, 0, -1))) == "23-005-%03d.mp4"
    assert free_path(str(tmp_path / "a-2026-%03d.mp4"), 7, 0.0) == tmp_path / "a-2026-007-2.mp4"
    assert free_path(str(tmp_path / "a-2026-%03d.mp4"), 11, 0.0) == tmp_path / "a-2026-011-2.mp4"


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        ("cam.mp4", UsageError, "would have the same name"), ("%Y.mp4", UsageError, "would have the same name"),
        ("-", UsageError, "cuts video files"), ("%05d.png", UsageError, "cuts video files"),
        ("rtsp://127.0.0.1:1/up", UsageError, "cuts files"), ("/proc/%Y/%05d.mp4", SinkError, "in /proc"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, kind: type, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--format", "mpegts"] if output == "-" else []
    outcome = streamsr("run", "--live", clip, output, "--segment-time", "10m", *arguments)
    assert outcome.code == kind.exit_code
    assert words in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_job_is_not_cut(clip: Path, tmp_path: Path) -> None:
    for options in ([tmp_path / "%05d.mp4", "--segment-time", "10m"], [tmp_path / "index.m3u8"]):
        outcome = streamsr("run", clip, *options)
        assert outcome.code == 2
        assert "--live plays it at its own speed" in outcome.err


def test_folders_of_a_pattern_are_made(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "rec" / "%Y" / "cam-%05d.mkv"
    outcome = streamsr("run", "--live", clip, out, "--segment-time", "10m", "--frames", "3", "--model", "resize")
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "rec").glob("*/cam-00000.mkv"))) == 1
