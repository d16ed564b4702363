"""Subtitles that are converted: each text appears and disappears when it did."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest
from media import ffmpeg, make_clip, program, streamsr, upscale

from streamsr.account import verify

Cue = tuple[float, float, str]


def clock(text: str) -> float:
    hours, minutes, seconds = text.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def cues(path: object) -> list[Cue]:
    """(start, end, text) of each line of the first subtitle stream, as FFmpeg's SubRip says; a line that goes on is one."""
    found: list[Cue] = []
    for block in ffmpeg("-i", path, "-map", "0:s:0", "-f", "srt", "-").decode().strip().split("\n\n"):
        _, times, *lines = block.splitlines()
        start, end = (clock(text) for text in times.split(" --> "))
        for line in (re.sub(r"<[^>]*>", "", line) for line in lines):
            before = next((cue for cue in found if cue[2] == line and abs(cue[1] - start) < 0.002), None)
            if before is not None:
                found.remove(before)
                start_of_line = before[0]
            else:
                start_of_line = start
            found.append((start_of_line, end, line))
    return sorted(found)


def check_cues(found: list[Cue], expected: list[Cue]) -> None:
    assert [text for _, _, text in found] == [text for _, _, text in sorted(expected)]
    for (start, end, _), (old_start, old_end, _) in zip(found, sorted(expected), strict=True):
        assert start == pytest.approx(old_start, abs=0.0021)
        assert end == pytest.approx(old_end, abs=0.0021)


def srt(path: Path, lines: list[Cue]) -> Path:
    def words(seconds: float) -> str:
        return f"{int(seconds // 3600):02}:{int(seconds // 60 % 60):02}:{seconds % 60:06.3f}".replace(".", ",")

    path.write_text("".join(f"{n}\n{words(start)} --> {words(end)}\n{text}\n\n" for n, (start, end, text) in enumerate(lines, 1)))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
@pytest.mark.parametrize("name", ["overlapping_subtitles.mkv", "overlapping_ass.mkv"])
def test_overlapping_texts_keep_their_times(faults: Path, tmp_path: Path, suffix: str, name: str) -> None:
    upscale(faults / name, tmp_path / f"out.{suffix}")
    check_cues(cues(tmp_path / f"out.{suffix}"), cues(faults / name))


LINES = [
    (0.0, 1.9, "all the time"), (0.2, 0.5, "first"), (0.2, 0.7, "beside it"), (0.7, 0.9, "touching"), (1.2, 1.4, "alone"),
    (1.4, 3.0, "late"),
]  # fmt: skip


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_texts_of_any_kind_of_overlap(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:s", "subrip", num_frames=50, inputs=["-i", srt(tmp_path / "in.srt", LINES)])
    upscale(clip, tmp_path / f"out.{suffix}")
    check_cues(cues(tmp_path / f"out.{suffix}"), LINES)
    assert not verify(clip, tmp_path / f"out.{suffix}").problems


def test_verify_sees_a_text_that_moved(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:s", "subrip", num_frames=50, inputs=["-i", srt(tmp_path / "in.srt", LINES)])
    moved = [*LINES[:-2], (1.25, 1.4, "alone"), LINES[-1]]
    ffmpeg("-i", clip, "-i", srt(tmp_path / "moved.srt", moved), "-map", "0:v", "-map", "1:s", "-c", "copy", tmp_path / "moved.mkv")
    assert any("lost the times of 1 of 6 texts, the first at 1.200 s" in words for words in verify(clip, tmp_path / "moved.mkv").problems)


def test_huge_text_takes_no_time(tmp_path: Path) -> None:
    lines = [(0.0, 0.3, "before"), (0.4, 0.6, "\n".join(["x" * 99] * 30_000)), (0.8, 1.0, "after")]
    clip = tmp_path / "in.mkv"
    make_clip(tmp_path / "plain.mkv", num_frames=50)
    subprocess.run([program("mkvmerge"), "-q", "-o", clip, tmp_path / "plain.mkv", srt(tmp_path / "in.srt", lines)], check=True)
    begun = time.monotonic()
    outcome = streamsr("run", clip, tmp_path / "out.mp4", "--model", "resize")
    assert outcome.code == 0, outcome.err
    assert time.monotonic() - begun < 10
    assert "at most 65535 are converted" in outcome.err
    assert "balanced but for 1 lost packets" in outcome.err
    assert [text for _, _, text in cues(tmp_path / "out.mp4")] == ["before", "after"]
    assert streamsr("run", clip, tmp_path / "strict.mp4", "--model", "resize", "--strict").code == 6


def test_many_texts_take_linear_time(tmp_path: Path) -> None:
    lines = [(number / 1000, number / 1000 + 0.05, f"line {number}") for number in range(2000)]
    clip = make_clip(tmp_path / "in.mkv", "-c:s", "subrip", num_frames=50, inputs=["-i", srt(tmp_path / "in.srt", lines)])
    begun = time.monotonic()
    upscale(clip, tmp_path / "out.mp4")
    assert time.monotonic() - begun < 10
