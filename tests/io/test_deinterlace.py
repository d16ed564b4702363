"""Interlaced pictures become progressive, one for one and at their times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from media import ffmpeg, gray_pictures, shown, streamsr, times, upscale

SIZE = (96, 64)


@pytest.fixture(scope="module", params=["libx264", "mpeg2video"])
def interlaced(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 fields a second in 25 frames, a real comb: fields of different times."""
    path = tmp_path_factory.mktemp("fields") / "in.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=50,trim=end_frame=24",
           "-vf", "tinterlace=interleave_top,setfield=tff,format=yuv420p",
           "-c:v", request.param, "-flags", "+ildct+ilme", "-q:v", "2", path)  # fmt: skip
    return path


def test_each_interlaced_frame_gives_one_frame_at_its_time(interlaced: Path, tmp_path: Path) -> None:
    outcome = upscale(interlaced, tmp_path / "out.mkv")
    assert len(times(interlaced)) == 12
    assert times(interlaced) == times(tmp_path / "out.mkv")
    assert "frames: 12 decoded" in outcome.err


def test_result_says_that_it_is_progressive(interlaced: Path, tmp_path: Path) -> None:
    upscale(interlaced, tmp_path / "out.mkv")
    assert shown(interlaced)["i"] in "TB"
    assert shown(tmp_path / "out.mkv")["i"] == "P"


def test_result_equals_ffmpegs_own_bwdif(interlaced: Path, tmp_path: Path) -> None:
    upscale(interlaced, tmp_path / "out.mkv", "--scale", "1", "--encoder", "ffv1")
    ffmpeg("-i", interlaced, "-vf", "bwdif=mode=send_frame:deint=interlaced", "-c:v", "ffv1", tmp_path / "expected.mkv")
    ours, theirs = gray_pictures(tmp_path / "out.mkv", *SIZE), gray_pictures(tmp_path / "expected.mkv", *SIZE)
    assert ours[1:] == theirs[1:]
    first = np.abs(np.frombuffer(ours[0], np.uint8).astype(int) - np.frombuffer(theirs[0], np.uint8))
    assert first.mean() < 1  # without a frame before it, one row depends on the version of bwdif


def test_progressive_pictures_are_left_alone(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25,trim=end_frame=4", "-c:v", "ffv1", "-pix_fmt", "yuv420p", tmp_path / "in.mkv")
    upscale(tmp_path / "in.mkv", tmp_path / "out.mkv", "--scale", "1", "--encoder", "ffv1")
    assert gray_pictures(tmp_path / "in.mkv", *SIZE) == gray_pictures(tmp_path / "out.mkv", *SIZE)


def test_one_interlaced_frame_alone_is_not_lost(interlaced: Path, tmp_path: Path) -> None:
    upscale(interlaced, tmp_path / "out.mkv", "--frames", "1")
    assert len(times(tmp_path / "out.mkv")) == 1


def test_range_of_interlaced_frames_balances(interlaced: Path, tmp_path: Path) -> None:
    upscale(interlaced, tmp_path / "out.mkv", "--start", "0.16", "--end", "0.32")
    assert len(times(tmp_path / "out.mkv")) == 4


def test_verify_passes_what_was_deinterlaced(interlaced: Path, tmp_path: Path) -> None:
    upscale(interlaced, tmp_path / "out.mkv")
    assert streamsr("verify", interlaced, tmp_path / "out.mkv").code == 0
