"""Old television: every field a frame on request, telecined film as film, and what was done is said."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from media import describe, ffmpeg, make_clip, program, rows, streamsr, times, upscale


def test_bob_makes_every_field_a_frame(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-vf", "interlace,fieldorder=tff", "-c:v", "ffv1", rate="50", num_frames=40)
    assert len(times(clip)) == 20
    outcome = upscale(clip, tmp_path / "out.mkv", "--deinterlace", "bob", "--encoder", "ffv1", "--scale", "1")
    assert "every field became a frame, 40 frames of 20" in outcome.err
    found = times(tmp_path / "out.mkv")
    assert len(found) == 40
    assert {round(float(after - before), 3) for before, after in itertools.pairwise(found)} == {0.02}
    assert len({row.md5 for row in rows(tmp_path / "out.mkv")}) >= 38  # the last field has no other


BUNNY = Path(__file__).parents[1] / "clips" / "bunny.mp4"
FILMS = {
    "test picture": ["-f", "lavfi", "-i", "testsrc2=size=160x96:rate=24000/1001,trim=end_frame=48"],
    "film": ["-i", BUNNY, "-frames:v", "48", "-an", "-vf", "scale=160:96,setpts=N*1001/24000/TB", "-r", "24000/1001"],
}  # fmt: skip


def lumas(path: Path) -> np.ndarray:
    data = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(data, np.uint8).reshape(-1, 96, 160).astype(float)


@pytest.mark.parametrize("film", FILMS)
@pytest.mark.parametrize(("pattern", "codec", "least_db"), [
    ("23", ["-c:v", "libx264", "-qp", "0", "-x264-params", "tff=1"], 40),
    ("2332", ["-c:v", "libx264", "-qp", "0", "-x264-params", "tff=1"], 40),
    ("23", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2"], 36),
])  # fmt: skip
def test_film_is_the_pictures_that_it_was(tmp_path: Path, film: str, pattern: str, codec: list[str], least_db: float) -> None:
    ffmpeg(*FILMS[film], "-c:v", "ffv1", "-pix_fmt", "yuv420p", tmp_path / "film.mkv")
    telecine = f"telecine=pattern={pattern},setfield=tff"
    ffmpeg("-i", tmp_path / "film.mkv", "-vf", telecine, *codec, "-pix_fmt", "yuv420p", tmp_path / "in.mkv")
    assert len(times(tmp_path / "in.mkv")) == 60
    outcome = upscale(tmp_path / "in.mkv", tmp_path / "out.mkv", "--deinterlace", "film", "--encoder", "ffv1", "--scale", "1")
    assert "3:2 pulldown was undone, 48 frames of 60" in outcome.err
    steps = {round(float(after - before), 3) for before, after in itertools.pairwise(times(tmp_path / "out.mkv"))}
    assert steps <= {0.041, 0.042}
    errors = ((lumas(tmp_path / "film.mkv") - lumas(tmp_path / "out.mkv")) ** 2).mean((1, 2))  # picture by picture, in their order
    assert len(errors) == 48
    assert 10 * np.log10(255**2 / np.maximum(errors, 1e-6)).min() > least_db  # of pictures that hardly differ it may take either's field
    if "-qp" in codec:
        assert (errors == 0).sum() >= 45


def test_soft_telecine_is_left_as_it_is(tmp_path: Path) -> None:
    """Film whose frames say that a player shall repeat a field: there is nothing to undo."""
    codec = ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2", "-bf", "0", "-pix_fmt", "yuv420p"]
    ffmpeg(*FILMS["film"], *codec, tmp_path / "film.m2v")
    data = bytearray((tmp_path / "film.m2v").read_bytes())
    at, number = data.find(b"\0\0\1\xb3"), 0
    while at >= 0:  # 24000/1001 becomes 30000/1001 (ITU-T H.262 table 6-4)
        data[at + 7] = data[at + 7] & 0xF0 | 4
        at = data.find(b"\0\0\1\xb3", at + 4)
    at = data.find(b"\0\0\1\xb5")
    while at >= 0:  # picture_coding_extension, ITU-T H.262 6.2.3.1: top_field_first, repeat_first_field, progressive_frame
        if data[at + 4] >> 4 == 8:
            data[at + 7] = data[at + 7] & 0x7F | (0x80 if number % 4 in (0, 1) else 0)
            data[at + 7] = data[at + 7] & 0xFD | (0x02 if number % 2 == 0 else 0)
            data[at + 8] |= 0x80
            number += 1
        at = data.find(b"\0\0\1\xb5", at + 4)
    assert number == 48
    (tmp_path / "soft.m2v").write_bytes(data)
    ffmpeg("-fflags", "+genpts", "-i", tmp_path / "soft.m2v", "-c", "copy", tmp_path / "in.mkv")
    assert "repeat_pict=1" in probed_repeats(tmp_path / "in.mkv")
    outcome = upscale(tmp_path / "in.mkv", tmp_path / "out.mkv", "--encoder", "ffv1", "--scale", "1")
    assert "deinterlaced" not in outcome.err
    assert [row.pts for row in rows(tmp_path / "out.mkv")] == times(tmp_path / "in.mkv")
    assert len(times(tmp_path / "out.mkv")) == 48
    assert np.abs(lumas(tmp_path / "film.m2v") - lumas(tmp_path / "out.mkv")).max() == 0


def probed_repeats(path: Path) -> str:
    command = [program("ffprobe"), "-v", "error", "-show_entries", "frame=repeat_pict", "-of", "default=nk=0:nw=1", str(path)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def test_interlaced_video_is_said_to_be(faults: Path, tmp_path: Path) -> None:
    assert "interlaced frames deinterlaced" in upscale(faults / "interlaced.mp4", tmp_path / "out.mkv").err
    assert "interlaced frames" not in upscale(faults / "eac3.mkv", tmp_path / "none.mkv").err


def test_progressive_then_interlaced(faults: Path, tmp_path: Path) -> None:
    upscale(faults / "progressive_then_interlaced.ts", tmp_path / "out.mkv", "--deinterlace", "bob")
    found = times(tmp_path / "out.mkv")
    assert len(found) > len(times(faults / "progressive_then_interlaced.ts"))
    assert found == sorted(set(found))


@pytest.mark.parametrize(("mode", "rate", "num_frames"), [("bob", "59.94", 120), ("film", "23.98", 48)])
def test_rate_of_what_comes_out_is_that_of_the_container(tmp_path: Path, mode: str, rate: str, num_frames: int) -> None:
    codec = ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-q:v", "2", "-pix_fmt", "yuv420p"]
    ffmpeg(*FILMS["test picture"], "-vf", "telecine=pattern=23,setfield=tff", *codec, tmp_path / "in.mkv")
    upscale(tmp_path / "in.mkv", tmp_path / "out.avi", "--deinterlace", mode)
    assert f"{rate} fps" in describe(tmp_path / "out.avi")
    assert len(rows(tmp_path / "out.avi")) == num_frames


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
