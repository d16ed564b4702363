"""Every real clip: the run ends well, no frame is missing and each is at its time. STREAMSR_DATA names the folder."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from media import MILLISECOND, describe, packets, shown, streams, streamsr, times, upscale

pytestmark = pytest.mark.slow

BROKEN = {"vp9_invalid-bitstream.webm"}
BROADCAST = (".mts", ".mpg", ".m2v", ".h264")  # their clock starts anywhere, or FFmpeg makes it up
LONG = 200  # frames; of longer clips the first NUM_FRAMES are enough: B-frames and the audio beside them
NUM_FRAMES = 12


def test_real_clip_keeps_count_and_times(clips: Path, real_clip: str, tmp_path: Path) -> None:
    source, out = clips / real_clip, tmp_path / "out.mkv"
    fast = ["--model", "resize", "--scale", "0.25", "--preset", "ultrafast", "--encoder", "libx264"]
    if real_clip in BROKEN:
        outcome = streamsr("run", source, out, *fast)
        assert outcome.code == 3, outcome.err
        assert not out.exists()
        return
    before = times(source)
    limit = ["--frames", NUM_FRAMES] if len(before) > LONG else []
    outcome = streamsr("run", source, out, *fast, *limit)
    assert outcome.code == 0, outcome.err
    assert "account balanced" in outcome.err
    before, after = before[:NUM_FRAMES] if limit else before, times(out)
    assert len(before) == len(after)
    if source.suffix in BROADCAST:
        before, after = ([b - a for a, b in pairwise(found)] for found in (before, after))
    assert max(abs(new - old) for new, old in zip(after, before, strict=True)) <= MILLISECOND


@pytest.mark.parametrize("name", ["mkv_sample_with_srt.mkv", "mkv_sample_with_ass_subtitles.mkv", "mkv_sample_with_pgs_subtitles.mkv",
                                  "mkv_sample_with_vobsub.mkv"])  # fmt: skip
def test_real_subtitles_are_copied_bit_for_bit(clips: Path, tmp_path: Path, name: str) -> None:
    upscale(clips / name, tmp_path / "out.mkv", "--scale", "0.25")
    assert packets(clips / name, "s:0") == packets(tmp_path / "out.mkv", "s:0")
    assert packets(clips / name, "a:0") == packets(tmp_path / "out.mkv", "a:0")


def test_real_chapters_are_kept(clips: Path, tmp_path: Path) -> None:
    source = clips / "mkv_sample_with_chapters.mkv"
    upscale(source, tmp_path / "out.mp4", "--scale", "0.25")
    assert describe(source).count("Chapter #") == describe(tmp_path / "out.mp4").count("Chapter #") > 0


def test_real_hdr10_words_are_kept(clips: Path, tmp_path: Path) -> None:
    def words(path: Path) -> list[str]:
        line = streams(path)[0]
        return [word for word in ("yuv420p10le", "bt2020nc/bt2020/smpte2084", "tv") if word in line]

    source = clips / "mp4_sample_with_colr_mdcv_and_clli.mp4"
    upscale(source, tmp_path / "out.mp4", "--scale", "0.25", "--frames", "5")
    assert len(words(source)) == 3
    assert words(tmp_path / "out.mp4") == words(source)
    before, after = (shown(path)["side"] for path in (source, tmp_path / "out.mp4"))
    for word in ("MaxCLL=", "r(", "max_luminance="):
        assert before.split(word)[1].split()[0] == after.split(word)[1].split()[0]
