"""Every real clip: the run ends well, no frame is missing and each is at its time. STREAMSR_DATA names the folder."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from media import MILLISECOND, rows, streamsr, times

BROKEN = {"vp9_invalid-bitstream.webm"}
NUM_FRAMES = 12  # enough for B-frames and the sound beside them, and fast


def test_real_clip_keeps_count_and_times(clips: Path, real_clip: str, tmp_path: Path) -> None:
    source, out = clips / real_clip, tmp_path / "out.mkv"
    outcome = streamsr("run", source, out, "--model", "resize", "--scale", "0.5", "--frames", NUM_FRAMES, "--preset", "ultrafast",
                       "--encoder", "libx264")  # fmt: skip
    if real_clip in BROKEN:
        assert outcome.code == 3, outcome.err
        return
    assert outcome.code == 0, outcome.err
    assert "account balanced" in outcome.err
    before, after = times_of_first(source, NUM_FRAMES), times(out)
    assert len(before) == len(after)
    if source.suffix not in (".h264", ".m2v", ".mpg"):  # without times of their own, FFmpeg guesses too
        steps = [b - a for a, b in pairwise(before)]
        assert max((abs(new - old) for new, old in zip((b - a for a, b in pairwise(after)), steps, strict=True)), default=0) <= MILLISECOND


def times_of_first(path: Path, count: int) -> list:
    return [row.pts for row in rows(path, options=[])][:count]
