"""Old television: every field a frame on request, telecined film as film, and what was done is said."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from media import ffmpeg, make_clip, rows, streamsr, times, upscale


def film(path: Path, *chain: object, num_frames: int = 48) -> Path:
    """24 frames a second of film as interlaced video."""
    source = f"testsrc2=size=160x96:rate=24000/1001,trim=end_frame={num_frames}"
    ffmpeg("-f", "lavfi", "-i", source, *(chain or ["-c:v", "ffv1"]), path)
    return path


def test_bob_makes_every_field_a_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-vf", "interlace,fieldorder=tff", "-c:v", "ffv1", rate="50", num_frames=40)
    assert len(times(clip)) == 20
    outcome = upscale(clip, tmp_path / "out.mkv", "--deinterlace", "bob", "--encoder", "ffv1", "--scale", "1")
    assert "every field became a frame, 40 frames of 20" in outcome.err
    found = times(tmp_path / "out.mkv")
    assert len(found) == 40
    assert {round(float(after - before), 3) for before, after in itertools.pairwise(found)} == {0.02}
    assert len({row.md5 for row in rows(tmp_path / "out.mkv")}) >= 38  # the last field has no other


def test_film_undoes_pulldown(tmp_path: Path) -> None:
    lossless = ["-c:v", "libx264", "-qp", "0", "-x264-params", "tff=1", "-pix_fmt", "yuv420p"]
    clip = film(tmp_path / "in.mkv", "-vf", "telecine=pattern=23,setfield=tff", *lossless)
    assert len(times(clip)) == 60
    outcome = upscale(clip, tmp_path / "out.mkv", "--deinterlace", "film", "--encoder", "ffv1", "--scale", "1")
    assert "3:2 pulldown was undone, 48 frames of 60" in outcome.err
    found = times(tmp_path / "out.mkv")
    steps = {round(float(after - before), 3) for before, after in itertools.pairwise(found)}
    assert steps <= {0.041, 0.042}
    before = {row.md5 for row in rows(film(tmp_path / "film.mkv"))}
    after = [row.md5 for row in rows(tmp_path / "out.mkv")]
    assert len(set(after)) == len(after) == 48  # no picture twice
    assert len(before & set(after)) >= 24  # FFmpeg's comb detection takes some of the test pattern's edges for combs


def test_interlaced_video_is_said_to_be(faults: Path, tmp_path: Path) -> None:
    assert "interlaced frames deinterlaced" in upscale(faults / "interlaced.mp4", tmp_path / "out.mkv").err
    assert "interlaced frames" not in upscale(faults / "eac3.mkv", tmp_path / "none.mkv").err


def test_progressive_then_interlaced(faults: Path, tmp_path: Path) -> None:
    upscale(faults / "progressive_then_interlaced.ts", tmp_path / "out.mkv", "--deinterlace", "bob")
    found = times(tmp_path / "out.mkv")
    assert len(found) > len(times(faults / "progressive_then_interlaced.ts"))
    assert found == sorted(set(found))


@pytest.mark.parametrize("mode", ["bob", "film"])
def test_long_video_is_made_in_one_piece(tmp_path: Path, mode: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-vf", "interlace", "-g", "5", rate="50", num_frames=60)
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", "resize", "--deinterlace", mode, "--segment-seconds", "0.3")
    assert outcome.code == 0, outcome.err
    assert "segments" not in outcome.err


def test_rate_that_a_header_makes_up_is_not_believed(tmp_path: Path) -> None:
    from streamsr.io.compression import bits_per_pixel
    from streamsr.io.source import Source

    make_clip(tmp_path / "in.mpg", "-c:v", "mpeg2video", "-maxrate", "104857200", "-bufsize", "1M", "-b:v", "200k", num_frames=50)
    with Source(tmp_path / "in.mpg") as source:
        found = bits_per_pixel(source)
    assert found is not None
    assert found <= 8 * (tmp_path / "in.mpg").stat().st_size / (64 * 48 * 49)
