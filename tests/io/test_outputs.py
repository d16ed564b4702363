"""AVI, MXF, GIF and APNG as outputs: what they hold is kept, and what they cannot hold is known before the run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import ffmpeg, gray_pictures, make_clip, rows, streams, streamsr, times, tone, upscale
from PIL import Image, ImageSequence


def refused(source: Path, out: Path, *words: str, options: tuple[str, ...] = ()) -> None:
    outcome = streamsr("run", source, out, "--model", "resize", *options)
    assert outcome.code == 6, outcome.err
    for word in words:
        assert word in outcome.err
    assert not list(out.parent.glob(f"*{out.suffix}"))


@pytest.mark.parametrize(("suffix", "audio"), [("avi", "mp3"), ("mxf", "pcm_s24le")])
@pytest.mark.parametrize("rate", ["25", "30000/1001"])
def test_video_and_audio_of_a_constant_rate(tmp_path: Path, suffix: str, audio: str, rate: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:a", "aac", "-vf", "setsar=16/11", rate=rate, inputs=tone(0.4, rate=44100))
    upscale(clip, tmp_path / f"out.{suffix}")
    found = streams(tmp_path / f"out.{suffix}")
    assert "h264" in found[0]
    assert "128x96" in found[0]
    assert "SAR 16:11" in found[0]
    assert audio in found[1]
    packets = rows(tmp_path / f"out.{suffix}", copy=True)
    assert [row.pts for row in packets] == [number / Fraction(rate) for number in range(10)]
    before, after = (gray_pictures(path, 64, 48) for path in (clip, small(tmp_path / f"out.{suffix}")))
    assert len(before) == len(after) == 10
    for one, other in zip(before, after, strict=True):  # in their order
        assert np.abs(np.frombuffer(one, np.uint8).astype(int) - np.frombuffer(other, np.uint8)).mean() < 8


def small(path: Path) -> Path:
    """At half size."""
    ffmpeg("-i", path, "-an", "-fps_mode", "passthrough", "-vf", "scale=64:48", "-c:v", "ffv1", path.with_name("small.mkv"))
    return path.with_name("small.mkv")


def test_surround_audio_keeps_its_channels_in_an_avi(faults: Path, tmp_path: Path) -> None:
    upscale(faults / "eac3.mkv", tmp_path / "out.avi")
    assert any("ac3" in stream and "5.1" in stream for stream in streams(tmp_path / "out.avi"))


@pytest.mark.parametrize("suffix", ["avi", "mxf"])
def test_variable_rate_is_refused_before_the_run(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-vf", "select='not(eq(mod(n,5),2))'", "-fps_mode", "vfr", num_frames=20)
    refused(clip, tmp_path / f"out.{suffix}", "constant rate", ".mkv")


def test_rate_that_mxf_lacks_is_refused(tmp_path: Path) -> None:
    refused(make_clip(tmp_path / "in.mp4", rate="15"), tmp_path / "out.mxf", "MXF has no 15 frames a second", "29.97")


@pytest.mark.parametrize("suffix", ["avi", "mxf"])
def test_audio_that_begins_later_is_refused(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:a", "aac", num_frames=20, inputs=["-itsoffset", "0.5", *tone(0.3)])
    refused(clip, tmp_path / f"out.{suffix}", "0.500 s after the first picture")


@pytest.mark.parametrize("suffix", ["avi", "mxf", "gif", "apng"])
def test_video_that_begins_late_begins_at_zero(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-vf", "setpts=PTS+0.52/TB", "-enc_time_base", "1:1000")
    assert times(clip)[0] == Fraction(52, 100)
    upscale(clip, tmp_path / f"out.{suffix}")
    found = [row.pts for row in rows(tmp_path / f"out.{suffix}", copy=True)]
    assert found == pytest.approx([number / 25 for number in range(10)], abs=1e-4)


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_pictures_of_an_animation_are_shown_when_they_were(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-vf", "select='not(eq(mod(n,5),2))'", "-fps_mode", "vfr", num_frames=20)
    upscale(clip, tmp_path / f"out.{suffix}")
    with Image.open(tmp_path / f"out.{suffix}") as found:
        lengths = [frame.info["duration"] / 1000 for frame in ImageSequence.Iterator(found)]
        assert found.info["loop"] == 0  # for ever
    expected = times(clip)
    assert np.cumsum([0, *lengths[:-1]]) == pytest.approx([float(time) for time in expected], abs=0.0051 if suffix == "gif" else 0.0006)


@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_animation_has_the_colours_of_the_video(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp", num_frames=3)
    upscale(clip, tmp_path / f"out.{suffix}", "--scale", "1")
    before, after = (np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(3, 48, 64, 3)
                     for path in (clip, tmp_path / f"out.{suffix}"))  # fmt: skip
    difference = np.abs(before.astype(int) - after)
    assert difference.mean() < (6 if suffix == "gif" else 0.6)


def test_cut_to_another_scene_gets_its_own_palette(tmp_path: Path) -> None:
    source = "color=0x0000A0:size=64x48:rate=10,trim=end_frame=3[a];testsrc2=size=64x48:rate=10,trim=end_frame=3[b];[a][b]concat"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", "-pix_fmt", "gbrp", tmp_path / "in.mkv")
    upscale(tmp_path / "in.mkv", tmp_path / "out.gif", "--scale", "1")
    before, after = (np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(6, -1)
                     for path in (tmp_path / "in.mkv", tmp_path / "out.gif"))  # fmt: skip
    assert np.abs(before.astype(int) - after).mean(1).max() < 8


@pytest.mark.parametrize("suffix", ["gif", "apng"])
@pytest.mark.parametrize("name", ["alpha.gif", "alpha.apng", "prores4444_alpha.mov"])
def test_animation_keeps_alpha(faults: Path, tmp_path: Path, suffix: str, name: str) -> None:
    upscale(faults / name, tmp_path / f"out.{suffix}", "--scale", "1")
    raw = ["-vf", "format=rgba,alphaextract", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    before, after = (np.frombuffer(ffmpeg("-i", path, *raw), np.uint8) for path in (faults / name, tmp_path / f"out.{suffix}"))
    assert len(before) == len(after)
    if suffix == "gif":
        assert ((before >= 128) == (after >= 128)).mean() > 0.98
    else:
        assert np.abs(before.astype(int) - after).mean() < 6


def test_alpha_of_rgb_is_kept_in_an_avi(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-vf", "format=bgra,colorchannelmixer=aa=0.5", "-c:v", "ffv1", num_frames=3)
    upscale(clip, tmp_path / "out.avi", "--scale", "1", "--strict")
    raw = ["-vf", "format=rgba,alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    before, after = (np.frombuffer(ffmpeg("-i", path, *raw), np.uint8).astype(int) for path in (clip, tmp_path / "out.avi"))
    assert np.abs(before - after).max() <= 1


def test_lossless_audio_stays_lossless_in_an_avi_and_mxf(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:a", "flac", inputs=tone(0.4))
    for suffix in ("avi", "mxf"):
        upscale(clip, tmp_path / f"out.{suffix}")
        before, after = (ffmpeg("-i", path, "-map", "a", "-f", "s16le", "-") for path in (clip, tmp_path / f"out.{suffix}"))
        assert after[: len(before)] == before


@pytest.mark.parametrize(("plays", "source"), [(1, "gif"), (3, "gif"), (0, "gif"), (3, "png"), (0, "webp"), (1, "webp")])
@pytest.mark.parametrize("suffix", ["gif", "apng"])
def test_animation_plays_as_often_as_its_source(tmp_path: Path, plays: int, source: str, suffix: str) -> None:
    pictures = [Image.new("RGB", (32, 32), (shade, 0, 90)) for shade in (0, 90, 180)]
    name = tmp_path / ("in.apng" if source == "png" else f"in.{source}")
    # a GIF counts what comes after the first time, and says nothing for once
    loop = {} if (source, plays) == ("gif", 1) else {"loop": plays - 1 if source == "gif" and plays else plays}
    pictures[0].save(name, format=source.upper(), save_all=True, append_images=pictures[1:], duration=[100, 100, 700], **loop)
    upscale(name, tmp_path / f"out.{suffix}")
    with Image.open(tmp_path / f"out.{suffix}") as found:
        loops = found.info.get("loop")
        assert loops == (plays if suffix == "apng" else {1: None, 3: 2, 0: 0}[plays])
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(found)] == [100, 100, 700]


def test_rate_that_a_gif_cannot_show_is_refused(tmp_path: Path) -> None:
    refused(make_clip(tmp_path / "in.mp4", rate="60"), tmp_path / "out.gif", "0.02 s or longer", ".apng")
    upscale(make_clip(tmp_path / "fifty.mp4", rate="50"), tmp_path / "out.gif")
    assert len(times(tmp_path / "out.gif")) == 10


def test_apng_of_16_bits(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:v", "ffv1", "-pix_fmt", "gbrp16le", num_frames=3)
    upscale(clip, tmp_path / "out.apng")
    assert "rgb48be" in streams(tmp_path / "out.apng")[0]


def test_what_an_animation_cannot_hold_is_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", "-c:a", "aac", "-vf", "setsar=16/11", "-metadata", "title=A film", inputs=tone(0.4))
    outcome = upscale(clip, tmp_path / "out.gif")
    for words in ("stream #1 audio aac dropped", "pixel aspect 16/11 dropped", "title='A film' dropped", "256 colours"):
        assert words in outcome.err
    refused(clip, tmp_path / "strict.apng", "audio aac", options=("--strict",))
