"""Inputs that hold less than they promise, or change while they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from media import ffmpeg, make_clip, rows, streamsr, times, tone, upscale
from stores import http_server

from streamsr.io.source import Source


def cut(source: Path, target: Path, share: float) -> Path:
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@pytest.mark.parametrize("segments", ["0", "0.5"])
@pytest.mark.parametrize("audio", [False, True])
def test_promised_frames_that_are_missing_are_named(tmp_path: Path, segments: str, audio: bool) -> None:
    options = ["-c:a", "aac", "-shortest"] if audio else []
    clip = make_clip(tmp_path / "in.mp4", "-g", "10", *options, "-movflags", "+faststart", num_frames=75, inputs=tone(3) if audio else [])
    short = cut(clip, tmp_path / "short.mp4", 0.7)
    outcome = streamsr("run", short, tmp_path / "out.mkv", "--model", "resize", "--segment-seconds", segments)
    assert outcome.code == 0, outcome.err
    assert "the input announces 75 frames" in outcome.err
    assert len(times(tmp_path / "out.mkv")) < 75
    strict = streamsr("run", short, tmp_path / "strict.mkv", "--model", "resize", "--segment-seconds", segments, "--strict")
    assert strict.code == 4
    assert not (tmp_path / "strict.mkv").exists()


@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_early_end_is_named(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / f"in.{suffix}", "-g", "10", num_frames=75)
    outcome = streamsr("run", cut(clip, tmp_path / f"short.{suffix}", 0.6), tmp_path / "out.mkv", "--model", "resize")
    assert outcome.code == 0, outcome.err
    if suffix != "ts":  # which announces nothing
        assert "the input announces 75 frames" in outcome.err or "the input ends early" in outcome.err


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "avi", "ts", "mov", "webm"])
def test_whole_files_promise_nothing_else(tmp_path: Path, suffix: str) -> None:
    video = ["-c:v", "libvpx", "-c:a", "libopus"] if suffix == "webm" else ["-c:a", "mp2" if suffix == "ts" else "aac"]
    clip = make_clip(tmp_path / f"in.{suffix}", *video, num_frames=75, inputs=tone(3))
    assert "warning" not in upscale(clip, tmp_path / "out.mkv", "--strict").err


def test_segment_that_is_missing_is_named(tmp_path: Path) -> None:
    make_clip(tmp_path / "list.m3u8", "-g", "10", "-f", "hls", "-hls_time", "0.8", "-hls_list_size", "0", num_frames=100)
    (tmp_path / "list2.ts").unlink()
    outcome = streamsr("run", tmp_path / "list.m3u8", tmp_path / "out.mkv", "--model", "resize")
    assert outcome.code == 0, outcome.err
    assert "the input has gaps: 1 of 0.84 s together, the first at 1." in outcome.err
    assert len(times(tmp_path / "out.mkv")) == 80
    strict = streamsr("run", tmp_path / "list.m3u8", tmp_path / "strict.mkv", "--model", "resize", "--strict")
    assert strict.code == 4


@pytest.mark.network
def test_segment_that_answers_404_is_named(tmp_path: Path) -> None:
    make_clip(tmp_path / "list.m3u8", "-g", "10", "-f", "hls", "-hls_time", "0.8", "-hls_list_size", "0", num_frames=100)
    (tmp_path / "list2.ts").unlink()
    with http_server(tmp_path) as site:
        outcome = streamsr("run", f"{site}/list.m3u8", tmp_path / "out.mkv", "--model", "resize", "--no-live")
        strict = streamsr("run", f"{site}/list.m3u8", tmp_path / "strict.mkv", "--model", "resize", "--no-live", "--strict")
    assert outcome.code == 0, outcome.err
    assert "the input has gaps: 1 of 0.84 s together, the first at 1." in outcome.err
    assert len(times(tmp_path / "out.mkv")) == 80
    assert strict.code == 4
    assert not (tmp_path / "strict.mkv").exists()


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_file_that_shrinks_while_it_is_read_is_exit_4(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / f"in.{suffix}", "-g", "10", "-movflags", "+faststart", size="320x240", num_frames=120)
    frames = Source.frames

    def shrink(self: Source):  # type: ignore[no-untyped-def]
        for number, frame in enumerate(frames(self)):
            if number == 20:
                os.truncate(clip, clip.stat().st_size // 2)
            yield frame

    monkeypatch.setattr(Source, "frames", shrink)
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize", "--scale", "1")
    assert outcome.code == 4, outcome.err
    assert "the input changed while it was read" in outcome.err
    assert not (tmp_path / "out.mkv").exists()


def test_rows_of_a_playlist_with_all_segments(tmp_path: Path) -> None:
    make_clip(tmp_path / "list.m3u8", "-g", "10", "-f", "hls", "-hls_time", "0.8", "-hls_list_size", "0", num_frames=60)
    assert "has gaps" not in upscale(tmp_path / "list.m3u8", tmp_path / "out.mkv").err
    assert len(rows(tmp_path / "out.mkv")) == 60


def test_variable_rate_is_no_gap(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", num_frames=20)
    ffmpeg("-i", clip, "-vf", "setpts=N*N/20/TB", "-fps_mode", "passthrough", "-enc_time_base", "1:1000", tmp_path / "vfr.mkv")
    assert "has gaps" not in upscale(tmp_path / "vfr.mkv", tmp_path / "out.mkv").err
