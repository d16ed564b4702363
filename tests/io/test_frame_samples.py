"""Frames from all over a file, and what a job tells its networks of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from make_chroma import make_weights, write_chroma_model

from streamsr.frame import Frame
from streamsr.io.frame_samples import sample_frames
from streamsr.io.source import Source
from streamsr.jobs.job import run
from streamsr.options import SourceOptions
from streamsr.pipeline import find_condition

FFMPEG = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()


def make_clip(path: Path, seconds: float, *more: str) -> Path:
    """A picture that brightens from 40 to 200 over its length, with a key frame every half second."""
    level = f"geq=lum='40+160*T/{seconds}+20*mod(floor(X/5)+floor(Y/5),2)':cb=128:cr=128"
    graph = f"color=black:s=96x64:r=20:d={seconds},format=yuv420p,{level}"
    subprocess.run([FFMPEG, "-v", "error", "-y", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-g", "10", *more, str(path)], check=True)
    return path


def test_samples_come_from_all_over(tmp_path: Path) -> None:
    with Source(str(make_clip(tmp_path / "a.mp4", 6)), SourceOptions()) as source:
        levels = [float(Frame(frame).luma.mean()) for frame in sample_frames(source)]
        assert len(levels) == 5
        assert np.all(np.diff(levels) > 10)
        assert len(list(source.frames())) == 120  # the source itself was not moved


def test_samples_of_a_part_come_from_that_part(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", 6)
    with Source(str(clip), SourceOptions(start_s=3.0)) as source:
        assert min(float(Frame(frame).luma.mean()) for frame in sample_frames(source)) > 115


def test_a_short_file_is_told_by_its_first_frame(tmp_path: Path) -> None:
    with Source(str(make_clip(tmp_path / "a.mp4", 1)), SourceOptions()) as source:
        assert sample_frames(source) == []
        assert find_condition(source) is None


def test_interlaced_pictures_are_seen_a_field_at_a_time(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", 3, "-flags", "+ilme+ildct", "-x264-params", "tff=1")
    with Source(str(clip), SourceOptions()) as source:
        found = find_condition(source)
    assert found is not None
    assert 0 <= found.blur <= 1


def test_segments_are_told_what_the_whole_file_is(tmp_path: Path) -> None:
    """Dark at first and bright at the end: had each segment looked at its own first frame, it would have been told something else."""
    clip = make_clip(tmp_path / "a.mp4", 6, "-crf", "35")
    model = str(write_chroma_model(make_weights(2), tmp_path))
    pictures = []
    for name, seconds in (("whole.mkv", 0.0), ("parts.mkv", 1.0)):
        report = run(clip, tmp_path / name, model=model, encoder="ffv1", segment_seconds=seconds)
        assert (report.num_segments > 1) == (seconds > 0)
        with Source(str(tmp_path / name), SourceOptions()) as source:
            pictures.append([Frame(frame).luma.copy() for frame in source.frames()])
    assert len(pictures[0]) == len(pictures[1]) == 120
    assert all(np.array_equal(one, other) for one, other in zip(*pictures, strict=True))
