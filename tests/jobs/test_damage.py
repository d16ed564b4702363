"""Damaged and odd inputs: a job counts and keeps what a run in one piece does."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from media import ffmpeg, make_clip, rows, streamsr, times, tone, upscale

CUT = ("--segment-seconds", "1")
WHOLE = ("--segment-seconds", "0")


def damaged(clip: Path, positions: set[int]) -> Path:
    """`clip` (Matroska) with packets that hold noise instead of video."""
    with av.open(str(clip)) as source, av.open(str(clip.with_name("bad.mkv")), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if not packet.size:
                continue
            copy = av.Packet(b"\xff" * 3 if number in positions else bytes(packet))
            copy.pts, copy.dts, copy.time_base, copy.is_keyframe = packet.pts, packet.dts, packet.time_base, packet.is_keyframe
            copy.stream = stream
            target.mux(copy)
    return clip.with_name("bad.mkv")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    "positions", [{52, 53}, {24}, {49, 99}, {75, 76, 77, 78, 79}, {99}], ids=["middle", "last", "lasts", "first", "end"]
)
def test_corrupt_packets_count_once(tmp_path: Path, positions: set[int], workers: str) -> None:
    """25 frames a segment: damage in the middle, at the end and at the beginning of one; a lost key frame costs its group."""
    source = damaged(make_clip(tmp_path / "clean.mkv", "-c:v", "libvpx", "-g", "5", num_frames=100), positions)
    cut = upscale(source, tmp_path / "cut.mkv", *CUT, "--workers", workers, "--threads", "1")
    whole = upscale(source, tmp_path / "whole.mkv", *WHOLE, "--threads", "1")
    assert times(tmp_path / "cut.mkv") == times(tmp_path / "whole.mkv")
    assert account(cut.err) == account(whole.err)


def account(words: str) -> str:
    return next(line for line in words.splitlines() if line.startswith("account"))


def test_too_many_corrupt_packets_end_the_job_with_what_is_done(tmp_path: Path) -> None:
    source = damaged(make_clip(tmp_path / "clean.mkv", "-c:v", "libvpx", "-g", "5", num_frames=100), set(range(60, 80)))
    outcome = streamsr("run", source, tmp_path / "out.mkv", "--model", "resize", *CUT, "--max-errors", "4")
    assert outcome.code == 3
    assert "5 corrupt packets in a row" in outcome.err
    assert "2 of 4 segments are done" in outcome.err
    assert times(tmp_path / "out.partial.mkv") == times(source)[:60]


def test_truncated_file_gives_what_is_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", "-bf", "0", "-g", "10", num_frames=200)
    source = tmp_path / "short.mkv"
    source.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    upscale(source, tmp_path / "out.mkv", *CUT)
    assert times(tmp_path / "out.mkv") == times(source)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_change_of_size_becomes_the_first_size(tmp_path: Path, workers: str) -> None:
    parts = []
    for number, size in enumerate(["64x48", "96x80"]):
        parts.append(make_clip(tmp_path / f"{number}.ts", "-bsf:v", "dump_extra", "-g", "10", size=size, num_frames=50))
    source = tmp_path / "both.ts"
    (tmp_path / "list.txt").write_text("".join(f"file '{part}'\n" for part in parts))
    ffmpeg("-f", "concat", "-safe", "0", "-i", tmp_path / "list.txt", "-c", "copy", source)
    upscale(source, tmp_path / "cut.mkv", *CUT, "--workers", workers, "--encoder", "ffv1", "--report", tmp_path / "r.json")
    upscale(source, tmp_path / "whole.mkv", *WHOLE, "--encoder", "ffv1")
    assert json.loads((tmp_path / "r.json").read_text())["num_segments"] > 1
    for name in ("cut", "whole"):
        ffmpeg("-i", tmp_path / f"{name}.mkv", "-map", "0:v", "-f", "framemd5", tmp_path / f"{name}.md5")
    assert (tmp_path / "cut.md5").read_text() == (tmp_path / "whole.md5").read_text()


def test_other_streams_come_along_once(tmp_path: Path) -> None:
    (tmp_path / "t.srt").write_text("".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},500\nline {n}\n\n" for n in range(4)))
    clip = make_clip(tmp_path / "in.mkv", "-map", "0:v", "-map", "1:a", "-map", "2:s", "-map", "3:a", "-c:a", "aac", "-c:s", "subrip",
                     "-metadata", "title=Film", num_frames=100, inputs=[*tone(4), "-i", tmp_path / "t.srt", *tone(2)])  # fmt: skip
    for name, how in (("cut.mkv", CUT), ("whole.mkv", WHOLE)):
        upscale(clip, tmp_path / name, *how)
    for stream in ("a:0", "a:1", "s:0"):
        assert rows(tmp_path / "cut.mkv", stream, copy=True) == rows(tmp_path / "whole.mkv", stream, copy=True)


def test_interlaced_video_is_the_same_in_segments(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=50,trim=end_frame=200",
           "-vf", "tinterlace=interleave_top,setfield=tff,format=yuv420p", "-c:v", "mpeg2video",
           "-g", "10", "-flags", "+ildct+ilme", "-q:v", "2", source)  # fmt: skip
    for name, how in (("cut.mkv", CUT), ("two.mkv", (*CUT, "--workers", "2")), ("whole.mkv", WHOLE)):
        outcome = upscale(source, tmp_path / name, *how, "--encoder", "ffv1", "--report", tmp_path / f"{name}.json")
        assert "100 decoded" in outcome.err
        assert json.loads((tmp_path / f"{name}.json").read_text())["num_deinterlaced"] == 100
    pictures = [ffmpeg("-i", tmp_path / name, "-map", "0:v", "-f", "framemd5", "-") for name in ("cut.mkv", "two.mkv", "whole.mkv")]
    assert pictures[0] == pictures[1] == pictures[2]
