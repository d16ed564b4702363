"""Plans: segments tile the video, begin where a decoder can begin, and hold the frames that the whole holds."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import ffmpeg, make_clip, times

from streamsr.io.source import Source
from streamsr.jobs.segment_plan import Packets, Uncut, check_tiling, plan_segments, scan
from streamsr.jobs.segment_reader import Reading


@st.composite
def streams(draw: st.DrawFn) -> Packets:
    """Packets of a made-up encoder: groups of any length, B-frames of any depth, open or closed, at any pace."""
    steps = draw(st.lists(st.sampled_from([1, 2, 5, 40, 900]), min_size=1, max_size=8))
    order: list[int] = []  # display numbers in decoding order
    keys: set[int] = set()
    shown = 0
    for _ in range(draw(st.integers(1, 12))):
        length, depth = draw(st.integers(1, 30)), draw(st.integers(0, 4))
        leading = draw(st.integers(0, 3)) if shown else 0  # B-frames before the key frame: an open group
        keys.add(shown + leading)
        order += [shown + leading, *range(shown, shown + leading)]
        at = shown + leading + 1
        end = shown + leading + length
        while at < end:
            run = min(depth + 1, end - at)
            order += [at + run - 1, *range(at, at + run - 1)]
            at += run
        shown = end
    clock = np.cumsum([steps[number % len(steps)] for number in range(shown)]) + draw(st.integers(-1000, 1000))
    is_shown = np.ones(shown, bool)
    for number in draw(st.sets(st.integers(0, shown - 1), max_size=3)):
        is_shown[number] = shown == 1
    if not is_shown.any():
        is_shown[0] = True
    return Packets(clock[order], np.array([number in keys for number in order]), is_shown)


@settings(max_examples=300)
@given(streams(), st.integers(1, 3000), st.integers(0, 20))
def test_segments_hold_each_shown_frame_once(packets: Packets, ticks: int, warmup: int) -> None:
    wanted = sorted(packets.pts[packets.is_shown].tolist())
    segments = plan_segments(packets, ticks=ticks, warmup=warmup)
    held = [time for segment in segments for time in wanted if segment.first <= time and (segment.end is None or time < segment.end)]
    assert held == wanted
    assert sum(segment.num_frames for segment in segments) == len(wanted)
    assert [segment.number for segment in segments] == list(range(len(segments)))
    for segment in segments[1:]:
        before = [time for time in wanted if time < segment.first]
        assert segment.warm == ([*before[-warmup:], segment.first][0] if warmup else segment.first)


@settings(max_examples=300)
@given(streams(), st.integers(1, 3000))
def test_decoding_may_begin_at_the_keys_of_a_segment(packets: Packets, ticks: int) -> None:
    for segment in plan_segments(packets, ticks=ticks):
        for key in segment.keys:
            at = packets.pts.tolist().index(key)
            assert packets.is_key[at]
            assert key <= segment.first
            decoded_before = packets.pts[:at]
            assert (decoded_before < key).all(), "a frame shown from the key frame on is decoded before it"


def test_cuts_are_at_key_frames_where_there_are_some() -> None:
    pts = np.arange(0, 1000)
    segments = plan_segments(Packets(pts, pts % 40 == 0, np.ones(1000, bool)), ticks=100)
    assert [segment.first for segment in segments] == [0, 80, 160, 240, 320, 400, 480, 560, 640, 720, 800, 880]
    assert all(segment.keys[0] == segment.first for segment in segments[1:])


def test_one_key_frame_in_two_hours_is_cut_all_the_same() -> None:
    pts = np.arange(0, 7200 * 25)
    segments = plan_segments(Packets(pts, pts == 0, np.ones(len(pts), bool)), ticks=250)
    assert len(segments) == 720
    assert {segment.num_frames for segment in segments} == {250}
    assert {segment.keys for segment in segments[1:]} == {(0,)}


@pytest.mark.parametrize(
    ("pts", "why"), [([0, 1, 1, 2], "share a time"), ([*range(100, 400), *range(0, 100)], "clock jumps"), ([], "no packet")]
)
def test_times_that_cannot_be_cut_are_named(pts: list[int], why: str) -> None:
    with pytest.raises(Uncut, match=why):
        plan_segments(Packets(np.array(pts, np.int64), np.ones(len(pts), bool), np.ones(len(pts), bool)), ticks=10)


def test_a_gap_is_noticed() -> None:
    pts = np.arange(0, 100)
    segments = plan_segments(Packets(pts, pts % 10 == 0, np.ones(100, bool)), ticks=20)
    with pytest.raises(AssertionError, match=r"other frames|a gap|in no segment|too long"):
        check_tiling(segments[:1] + segments[2:], pts)


X264 = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
CLIPS = {
    "closed.mp4": [*X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=0:b-pyramid=normal:scenecut=0"],
    "open.mp4": [*X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=1:b-pyramid=normal:scenecut=0"],
    "open.mkv": [*X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=1:scenecut=0"],
    "open.ts": [*X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=1:scenecut=0"],
    "refresh.mkv": [*X264, "-g", "20", "-x264-params", "intra-refresh=1:scenecut=0"],
    "rare.mp4": [*X264, "-g", "9999", "-bf", "2", "-x264-params", "scenecut=0"],
    "hevc.mkv": ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "12", "-x265-params", "open-gop=1:log-level=0"],
    "mpeg2.ts": ["-c:v", "mpeg2video", "-g", "12", "-bf", "2"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "10"],
    "vp8.webm": ["-c:v", "libvpx", "-deadline", "realtime", "-g", "12", "-auto-alt-ref", "1", "-lag-in-frames", "10"],
    "intra.avi": ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"],
    "plain.flv": [*X264, "-g", "12", "-bf", "2"],
    "interlaced.mkv": ["-vf", "tinterlace=interleave_top,setfield=tff", *X264,
                        "-g", "12", "-flags", "+ildct+ilme", "-x264-params", "tff=1"],
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("order", ["forward", "backward", "every other"])
def test_segments_give_the_pictures_of_the_whole(tmp_path: Path, name: str, order: str) -> None:
    clip = make_clip(tmp_path / name, *CLIPS[name], num_frames=120)
    assert_parts_equal_whole(clip, order)


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_variable_frame_rate_and_edit_list_give_the_pictures_of_the_whole(tmp_path: Path, order: str) -> None:
    pace = "setpts='N*(1+mod(N,3))/25/TB',trim=start_pts=0"
    clip = make_clip(tmp_path / "whole.mp4", "-vf", pace, "-fps_mode", "vfr", *CLIPS["open.mp4"], num_frames=120)
    ffmpeg("-ss", "1.3", "-i", clip, "-c", "copy", tmp_path / "cut.mp4")  # begins within a group: an edit list hides frames
    assert_parts_equal_whole(clip, order)
    assert_parts_equal_whole(tmp_path / "cut.mp4", order)


def assert_parts_equal_whole(clip: Path, order: str) -> None:
    """Decoded segment by segment in some order: the same pictures at the same times as by one decoder."""
    with Source(clip) as source:
        segments = plan_segments(scan(source, threading.Event()), ticks=max(1, round(Fraction(1) / source.time_base)))
        whole = [(frame.pts, frame.to_ndarray().tobytes()) for frame in source.frames()]
        assert len(whole) == len(times(clip))
    assert len(segments) > 2
    if order == "backward":
        segments = segments[::-1]
    elif order == "every other":
        segments = segments[::2] + segments[1::2]
    found: dict[int, list[tuple[int | None, bytes]]] = {}
    reading = Reading(str(clip), source.options)
    for frame in reading.frames(segments):
        part = reading.owners.popleft()
        assert part is not None
        found.setdefault(part.segment.number, []).append((frame.pts, frame.to_ndarray().tobytes()))
    reading.close()
    parts = [item for number in sorted(found) for item in found[number]]
    assert [pts for pts, _ in parts] == [pts for pts, _ in whole]
    assert parts == whole
