"""Clocks that are out of order, start anew, or start before 0."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import pytest
from media import MILLISECOND, ffmpeg, make_clip, packets, pictures, rows, times, tone, upscale

TENTH = Fraction(1, 10)


def steps(found: list[Fraction]) -> set[float]:
    return {round(float(after - before), 3) for before, after in itertools.pairwise(found)}


@pytest.mark.parametrize("options", [
    ["-c:v", "libx264", "-preset", "medium", "-bf", "3", "-g", "10"],  # a pyramid of B-frames: 1, 4, 3, 5, 2
    ["-c:v", "libx264", "-preset", "medium", "-bf", "3", "-b_strategy", "0", "-x264-params", "b-pyramid=none"],
    ["-c:v", "mpeg4", "-bf", "2"],
])  # fmt: skip
def test_times_in_decoding_order_are_put_in_order(tmp_path: Path, options: list[str]) -> None:
    clip = make_clip(tmp_path / "in.avi", *options, "-pix_fmt", "yuv420p", num_frames=20)
    upscale(clip, tmp_path / "out.mkv")
    assert len(times(tmp_path / "out.mkv")) == 20
    assert steps(times(tmp_path / "out.mkv")) == {0.04}


@pytest.mark.parametrize("options", [["-c:v", "libx264", "-bf", "3"], ["-c:v", "mpeg1video", "-bf", "2"]])
def test_pictures_stay_in_their_order(tmp_path: Path, options: list[str]) -> None:
    clip = make_clip(tmp_path / "in.avi", *options, "-pix_fmt", "yuv420p", num_frames=12)
    upscale(clip, tmp_path / "out.mkv", "--scale", "1", "--encoder", "ffv1")
    assert [row.md5 for row in rows(tmp_path / "out.mkv")] == [row.md5 for row in rows(clip)]


@pytest.fixture(scope="module")
def broadcasts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two transport streams of 2 s; the clock of the second is 5000 s ahead."""
    folder = tmp_path_factory.mktemp("clocks")
    for name, offset in (("a", 0), ("b", 5000)):
        ffmpeg(*pictures(num_frames=50), *tone(2), "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac",
               "-output_ts_offset", offset, "-pix_fmt", "yuv420p", folder / f"{name}.ts")  # fmt: skip
    return folder


@pytest.mark.parametrize("parts", ["aa", "ab", "ba", "aba"])
def test_clock_that_starts_anew_is_continued(broadcasts: Path, tmp_path: Path, parts: str) -> None:
    source = tmp_path / "in.ts"
    source.write_bytes(b"".join((broadcasts / f"{name}.ts").read_bytes() for name in parts))
    outcome = upscale(source, tmp_path / "out.mkv", "--segment-seconds", "1")
    assert f"starts anew {len(parts) - 1} times" in outcome.err
    assert "ends early" not in outcome.err
    found = times(tmp_path / "out.mkv")
    assert len(found) == 50 * len(parts)
    assert found == sorted(found)
    assert 2 * len(parts) - TENTH < found[-1] < 2 * len(parts) + TENTH
    assert len(packets(tmp_path / "out.mkv", "a:0")) == sum(len(packets(broadcasts / f"{name}.ts", "a:0")) for name in parts)
    # picture and audio of each part begin as far from each other as they did
    audio = [row.pts for row in rows(tmp_path / "out.mkv", "a:0", copy=True)]
    ahead = times(broadcasts / "a.ts")[0] - rows(broadcasts / "a.ts", "a:0", copy=True)[0].pts
    each = len(audio) // len(parts)
    for number in range(len(parts)):
        assert abs(found[50 * number] - audio[each * number] - ahead) <= 2 * MILLISECOND


def test_steady_clock_is_left_alone(broadcasts: Path, tmp_path: Path) -> None:
    assert "anew" not in upscale(broadcasts / "b.ts", tmp_path / "out.mkv").err


def test_edit_list_that_begins_between_key_frames_goes_into_matroska(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", "-g", "15", "-c:a", "aac", rate="15", num_frames=45, inputs=tone(3))
    cut = tmp_path / "cut.mp4"  # fragments: FFmpeg shows what lies before the edit
    ffmpeg("-ss", "1.333", "-i", whole, "-c", "copy", "-movflags", "+frag_keyframe+delay_moov", cut)
    before, audio = times(cut), rows(cut, "a:0", copy=True)
    assert before[0] < -TENTH
    outcome = upscale(cut, tmp_path / "out.mkv")
    assert "all times moved 0.333 s later" in outcome.err
    after = times(tmp_path / "out.mkv")
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        assert abs(new - (old - before[0])) <= MILLISECOND
    # what a decoder needs before the edit is left out of the audio, so compare its end
    assert abs(rows(tmp_path / "out.mkv", "a:0", copy=True)[-1].pts - (audio[-1].pts - before[0])) <= 2 * MILLISECOND


@pytest.mark.parametrize("suffix", ["mp4", "mov", "ts"])
def test_pictures_before_zero_are_shown_in_other_containers(faults: Path, tmp_path: Path, suffix: str) -> None:
    upscale(faults / "negative_times.mkv", tmp_path / f"out.{suffix}")
    found = times(tmp_path / f"out.{suffix}")
    assert len(found) == 100
    assert steps(found) == {0.04}
    audio = rows(tmp_path / f"out.{suffix}", "a:0", copy=True)
    assert abs(found[0] - audio[0].pts - Fraction(23, 1000)) <= MILLISECOND


def test_matroska_with_times_before_zero(faults: Path, tmp_path: Path) -> None:
    upscale(faults / "negative_times.mkv", tmp_path / "out.mkv")
    audio = [row.pts for row in rows(faults / "negative_times.mkv", "a:0", copy=True)]
    after = [row.pts for row in rows(tmp_path / "out.mkv", "a:0", copy=True)]
    assert [time - after[0] for time in after] == [time - audio[0] for time in audio]
    found = times(tmp_path / "out.mkv")
    assert abs(found[0] - after[0] - Fraction(23, 1000)) <= MILLISECOND  # mkvmerge -J: the video starts at -0.500, the audio at -0.523
    assert steps(found) == {0.04}


def test_playlist_starts_at_zero(tmp_path: Path) -> None:
    make_clip(tmp_path / "list.m3u8", "-g", "10", "-f", "hls", "-hls_time", "0.4", "-hls_list_size", "0", num_frames=30)
    upscale(tmp_path / "list.m3u8", tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv")[0] == 0
    assert len(times(tmp_path / "out.mkv")) == 30
