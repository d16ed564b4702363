"""Time: every frame leaves at the time it came, whatever the clock of the container."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import MILLISECOND, Row, describe, ffmpeg, make_clip, pictures, rows, times, tone, upscale

CONTAINERS = ["mp4", "mkv", "mov", "webm", "ts", "nut"]
COARSE = ("mkv", "webm")
TS_TICK = Fraction(1, 90_000)


def encoder(suffix: str) -> list[str]:
    return ["--encoder", "libvpx-vp9"] if suffix == "webm" else []


def assert_same_times(before: list[Row], after: list[Row], suffix: str) -> None:
    """Equal to the tick; a ts starts later by the delay of its B-frames, all of it by one amount."""
    assert len(before) == len(after)
    moved = after[0].pts - before[0].pts if suffix in ("ts", "nut") else Fraction(0)
    assert 0 <= moved < Fraction(1, 2)
    allowed = MILLISECOND if suffix in COARSE else TS_TICK if suffix == "ts" else Fraction(0)
    for old, new in zip(before, after, strict=True):
        assert abs(new.pts - old.pts - moved) <= allowed


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """29.97 fps with B-frames and audio."""
    path = tmp_path_factory.mktemp("time") / "in.mp4"
    return make_clip(path, "-c:a", "aac", rate="30000/1001", num_frames=20, inputs=tone(0.7))


@pytest.fixture(scope="module")
def vfr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames at uneven times."""
    path = tmp_path_factory.mktemp("time") / "vfr.mp4"
    return make_clip(path, "-vf", "select='not(eq(mod(n,5),2)+eq(n,9))'", "-fps_mode", "vfr", "-video_track_timescale", "30000",
                     rate="30000/1001", num_frames=24)  # fmt: skip


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_ntsc_rate_keeps_every_time(clip: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(clip, out, *encoder(suffix))
    assert_same_times(rows(clip), rows(out), suffix)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_uneven_times_are_kept(vfr: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(vfr, out, *encoder(suffix))
    before = rows(vfr)
    assert len({round(float(b.pts - a.pts), 6) for a, b in pairwise(before)}) > 1
    assert_same_times(before, rows(out), suffix)


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_durations_are_kept(tmp_path: Path, suffix: str) -> None:
    # without B-frames: an mp4 stores the steps of the decoding time, which these move
    source, out = tmp_path / "in.mp4", tmp_path / f"out.{suffix}"
    make_clip(source, "-bf", "0", "-vf", "select='not(eq(mod(n,5),2))'", "-fps_mode", "vfr", num_frames=14)
    upscale(source, out, "--encoder-option", "bf=0")
    assert [row.duration for row in rows(source)] == [row.duration for row in rows(out)]


def test_last_frames_of_b_frame_stream_are_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-bf", "8", "-x264-params", "b-adapt=0:bframes=8:rc-lookahead=20", num_frames=33)
    upscale(clip, tmp_path / "out.mkv")
    assert len(rows(tmp_path / "out.mkv")) == 33


def test_audio_as_first_stream_loses_no_frame(clip: Path, tmp_path: Path) -> None:
    first = tmp_path / "audio_first.mp4"
    ffmpeg("-i", clip, "-map", "0:a", "-map", "0:v", "-c", "copy", first)
    upscale(first, tmp_path / "out.mp4")
    assert times(first) == times(tmp_path / "out.mp4")


def test_edit_list_that_cuts_the_start_is_kept(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    ffmpeg("-ss", "0.3", "-i", clip, "-c", "copy", "-avoid_negative_ts", "disabled", cut)
    upscale(cut, tmp_path / "out.mp4")
    assert times(cut) == times(tmp_path / "out.mp4")


def test_edit_list_that_delays_the_picture_is_kept(clip: Path, tmp_path: Path) -> None:
    late = tmp_path / "late.mp4"
    ffmpeg("-itsoffset", "0.5", "-i", clip, "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    assert times(late)[0] >= Fraction(1, 2)
    upscale(late, tmp_path / "out.mp4")
    assert times(late) == times(tmp_path / "out.mp4")
    assert times(late, "a:0")[0] == times(tmp_path / "out.mp4", "a:0")[0]


def test_programme_clock_that_wraps_goes_on(clip: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.ts", tmp_path / "out.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-mpegts_copyts", "1", "-output_ts_offset", "95443.4", source)  # 33 bits of 90 kHz end at 95443.7 s
    upscale(source, out)
    before, after = times(clip), times(out)
    assert [time - before[0] for time in before] == [time - after[0] for time in after]


def test_programme_clock_that_began_earlier_is_set_to_zero(clip: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.ts", tmp_path / "out.mp4"
    ffmpeg("-i", clip, "-c", "copy", "-output_ts_offset", "3000", source)
    upscale(source, out)
    before, after = times(source), times(out)
    assert [time - before[0] for time in before] == [time - after[0] for time in after]
    assert 0 <= after[0] < 1
    audio_before = times(source, "a:0")[0] - before[0]
    assert abs(times(out, "a:0")[0] - after[0] - audio_before) <= MILLISECOND


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_audio_stays_in_step_to_the_millisecond(clip: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(clip, out)
    before, after = ([row.pts for row in rows(path, "a:0", copy=True)] for path in (clip, out))
    if suffix == "mkv":
        before = before[1:]  # FFmpeg's priming from below 0, which Matroska would move everything for
    offset = times(out)[0] - times(clip)[0]
    assert len(before) == len(after)
    assert max(abs(b - a - offset) for a, b in zip(before, after, strict=True)) <= MILLISECOND


def test_frames_without_a_time_get_one(tmp_path: Path) -> None:
    raw = make_clip(tmp_path / "in.h264", "-bf", "0", num_frames=12)
    upscale(raw, tmp_path / "out.mp4")
    after = times(tmp_path / "out.mp4")
    assert [b - a for a, b in pairwise(after)] == [Fraction(1, 25)] * 11


def test_raw_stream_with_b_frames_keeps_rate(tmp_path: Path) -> None:
    raw = make_clip(tmp_path / "in.h264", num_frames=25)
    upscale(raw, tmp_path / "out.mp4")
    after = times(tmp_path / "out.mp4")
    assert [b - a for a, b in pairwise(after)] == [Fraction(1, 25)] * 24


@pytest.mark.parametrize(
    ("options", "first", "last"),
    [
        (["--start", "0.2"], 5, 24), (["--end", "0.4"], 0, 9), (["--start", "0.2", "--end", "0.4"], 5, 9),
        (["--start", "0.2", "--frames", "3"], 5, 7), (["--frames", "4"], 0, 3), (["--start", "0", "--end", "0.04"], 0, 0),
        (["--start", "0.21"], 6, 24),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_range_has_its_frames_and_its_audio(tmp_path: Path, options: list[str], first: int, last: int, suffix: str) -> None:
    clip = make_clip(
        tmp_path / f"in.{suffix}", "-c:a", "pcm_s16le" if suffix == "mkv" else "aac", "-g", "7", num_frames=25, inputs=tone(1.0)
    )
    out = tmp_path / f"out.{suffix}"
    upscale(clip, out, *options, "--encoder", "ffv1" if suffix == "mkv" else "libx264")
    before, after = rows(clip), rows(out)
    assert len(after) == last - first + 1
    start = Fraction(options[1]) if options[0] == "--start" else Fraction(0)
    origin = min(0, rows(clip, "a:0", copy=True)[0].pts)  # times count from the start of the file
    assert abs(after[0].pts - (before[first].pts - start)) <= MILLISECOND + abs(origin)
    length = after[-1].pts + Fraction(1, 25)
    tones = [row for row in rows(out, "a:0", copy=True) if row.pts >= 0]
    assert tones[0].pts <= Fraction(50, 1000)  # one audio frame
    assert abs(tones[-1].pts + tones[-1].duration - length) <= Fraction(70, 1000)


def test_range_of_one_frame_carries_the_right_picture(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "yuv420p", num_frames=25)
    upscale(clip, tmp_path / "out.mkv", "--start", "0.52", "--frames", "1", "--encoder", "ffv1", "--scale", "1")
    assert rows(tmp_path / "out.mkv")[0].md5 == rows(clip)[13].md5


NO_INDEX = {
    "ts": ["-c:v", "libx264", "-c:a", "aac"],
    "mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"], "ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"], "flv": ["-c:v", "libx264", "-c:a", "aac"],
}  # fmt: skip


@pytest.mark.parametrize("suffix", NO_INDEX)
@pytest.mark.parametrize(
    ("options", "low", "high"), [(["--start", "1", "--end", "2"], 1.0, 2.0), (["--start", "2.5"], 2.5, 9.0), ([], 0.0, 9.0)]
)
def test_range_starts_at_its_first_frame_in_any_container(tmp_path: Path, suffix: str, options: list[str], low: float, high: float) -> None:
    source, out = tmp_path / f"in.{suffix}", tmp_path / "out.mkv"
    make_clip(source, *NO_INDEX[suffix], "-pix_fmt", "yuv420p", "-g", "12", num_frames=75, inputs=tone(3.0))
    upscale(source, out, *options, "--encoder", "ffv1", "--scale", "1")
    found = rows(source)
    origin = float(describe(source).split("start: ")[1].split(",")[0])
    wanted = [row for row in found if low <= round(float(row.pts) - origin, 4) < high]
    assert [row.md5 for row in wanted] == [row.md5 for row in rows(out)]


def test_empty_packets_of_theora_end_nothing(tmp_path: Path) -> None:
    source = tmp_path / "in.ogv"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x48:rate=25,trim=end_frame=20", *pictures(num_frames=20), "-filter_complex", "concat",
           "-c:v", "libtheora", source)  # fmt: skip
    upscale(source, tmp_path / "out.mkv")
    assert len(times(tmp_path / "out.mkv")) == len(times(source)) < 40


def write_frames(path: Path, ticks: list[int], base: Fraction) -> None:
    """A file whose frames have exactly these times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        for number, pts in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((24, 16), 16 + number, np.uint8), "yuv420p")
            frame.pts, frame.time_base = pts, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@settings(max_examples=25)
@given(
    steps=st.lists(st.integers(1, 4000), min_size=1, max_size=12),
    first=st.integers(0, 5000),
    suffix=st.sampled_from(["mp4", "mkv", "mov", "nut"]),
)
def test_any_increasing_times_survive(tmp_path_factory: pytest.TempPathFactory, steps: list[int], first: int, suffix: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    ticks = list(accumulate(steps, initial=first))
    write_frames(folder / "in.mkv", ticks, Fraction(1, 1000))
    out = folder / f"out.{suffix}"
    upscale(folder / "in.mkv", out)
    assert times(out) == [Fraction(tick, 1000) for tick in ticks]
