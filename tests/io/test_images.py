"""Image sequences and single images, in and out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import ffmpeg, make_clip, pictures, shown, streams, streamsr, times, upscale

import streamsr as streamsr_library
from streamsr.options import Look


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six numbered PNG files."""
    path = tmp_path_factory.mktemp("images")
    ffmpeg(*pictures(num_frames=6), path / "%03d.png")
    return path


def test_sequence_becomes_a_video_at_the_rate_asked_for(folder: Path, tmp_path: Path) -> None:
    upscale(folder / "%03d.png", tmp_path / "out.mp4", "--input-rate", "24")
    assert times(tmp_path / "out.mp4") == [Fraction(n, 24) for n in range(6)]


def test_sequence_without_a_rate_has_25_frames_a_second(folder: Path, tmp_path: Path) -> None:
    upscale(folder / "%03d.png", tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv")[1] == Fraction(1, 25)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "bmp", "webp", "ppm"])
def test_video_becomes_a_sequence(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", num_frames=7)
    (tmp_path / "out").mkdir()
    upscale(clip, tmp_path / "out" / f"%03d.{suffix}")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{n:03d}.{suffix}" for n in range(1, 8)]
    assert "128x96" in streams(tmp_path / "out" / f"007.{suffix}")[0]


def test_sequence_of_a_variable_rate_has_each_frame_once(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-vf", "select='not(eq(mod(n,5),2))'", "-fps_mode", "vfr", num_frames=20)
    (tmp_path / "out").mkdir()
    upscale(clip, tmp_path / "out" / "%03d.png")
    assert len(list((tmp_path / "out").iterdir())) == len(times(clip)) == 16


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp"])
def test_one_image_becomes_one_image(folder: Path, tmp_path: Path, suffix: str) -> None:
    upscale(folder / "001.png", tmp_path / f"out.{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == [f"out.{suffix}"]
    assert "128x96" in streams(tmp_path / f"out.{suffix}")[0]


def test_an_image_gets_the_network_for_pictures_and_a_sequence_that_for_clean_video(folder: Path, tmp_path: Path) -> None:
    assert streamsr_library.run(folder / "001.png", tmp_path / "out.png").model == "lite-picture"
    assert streamsr_library.run(folder / "%03d.png", tmp_path / "out.mkv").model == "lite-clean"


@pytest.mark.parametrize(
    ("look", "strength", "name"), [("faithful", None, "lite-picture"), ("faithful", 0.5, "base"), ("natural", None, "base")]
)
def test_an_image_by_base(folder: Path, tmp_path: Path, look: Look, strength: float | None, name: str) -> None:
    report = streamsr_library.run(folder / "001.png", tmp_path / "out.png", model="base", look=look, strength=strength)
    assert report.model == name


def test_image_of_16_bits_keeps_them(tmp_path: Path) -> None:
    ffmpeg(*pictures(num_frames=1), "-pix_fmt", "rgb48be", tmp_path / "in.png")
    upscale(tmp_path / "in.png", tmp_path / "out.png")
    assert shown(tmp_path / "out.png")["fmt"].startswith("rgb48")


def test_image_keeps_its_colours(folder: Path, tmp_path: Path) -> None:
    upscale(folder / "001.png", tmp_path / "out.png", "--scale", "1")
    before, after = (np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8) for path in
                     (folder / "001.png", tmp_path / "out.png"))  # fmt: skip
    assert np.abs(before.astype(int) - after).max() <= 2  # 8-bit RGB through Y and back rounds


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "bmp", "ppm"])
@pytest.mark.parametrize(("matrix", "color_range"), [("bt709", "tv"), ("smpte170m", "tv"), ("bt709", "pc"), ("bt2020nc", "tv")])
def test_image_of_a_video_has_its_colours(tmp_path: Path, suffix: str, matrix: str, color_range: str) -> None:
    colours = f"color=0x10D030:size=64x48:rate=25,trim=end_frame=1,scale=out_color_matrix={matrix}:out_range={color_range},format=yuv444p"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        colours,
        "-c:v",
        "libx264",
        "-crf",
        "1",
        "-colorspace",
        matrix,
        "-color_range",
        color_range,
        tmp_path / "in.mp4",
    )
    upscale(tmp_path / "in.mp4", tmp_path / f"out.{suffix}")
    data = np.frombuffer(ffmpeg("-i", tmp_path / f"out.{suffix}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(-1, 3)
    assert np.abs(data.mean(0) - (0x10, 0xD0, 0x30)).max() < 8  # two conversions in 8 bits and lossy WebP; a wrong matrix is 20 off


def test_video_of_many_frames_into_one_image_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    outcome = streamsr("run", clip, tmp_path / "out.png", "--model", "resize")
    assert outcome.code in (2, 6)
    assert "%0" in outcome.err
    assert not (tmp_path / "out.png").exists()


def test_existing_first_image_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "001.png").write_bytes(b"mine")
    outcome = streamsr("run", folder / "%03d.png", tmp_path / "%03d.png", "--model", "resize")
    assert outcome.code == 6
    assert "--overwrite" in outcome.err
    assert (tmp_path / "001.png").read_bytes() == b"mine"
