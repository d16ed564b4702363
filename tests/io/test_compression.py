"""Whether a source counts as clean: by codec, profile or bits a pixel, and never where nothing tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import make_clip

from streamsr.io.compression import bits_per_pixel, form_of, is_clean
from streamsr.io.source import Source


@pytest.mark.parametrize(
    ("name", "output", "clean"),
    [
        ("a.mkv", ["-c:v", "ffv1"], True),
        ("a.mkv", ["-c:v", "libx264", "-qp", "0"], True),
        ("a.mkv", ["-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv444p"], True),  # by its bits: the profile is that of all 4:4:4
        ("a.mp4", ["-c:v", "libx264", "-crf", "23"], False),
        ("a.mkv", ["-c:v", "libx264", "-crf", "23"], False),
        ("a.mp4", ["-c:v", "libx264", "-crf", "1", "-vf", "noise=alls=30:allf=t"], True),
        ("a.avi", ["-c:v", "mjpeg", "-q:v", "5"], False),
        ("a.mov", ["-c:v", "prores_ks", "-profile:v", "3"], True),
        ("a.y4m", ["-c:v", "rawvideo"], True),
        ("a.h264", ["-c:v", "libx264", "-crf", "1", "-vf", "noise=alls=30:allf=t"], False),  # no container, so nothing tells
    ],
)
def test_sources_are_clean_or_not(tmp_path: Path, name: str, output: list[str], clean: bool) -> None:
    clip = make_clip(tmp_path / name, *output, size="320x240", num_frames=25)
    with Source(clip) as source:
        assert is_clean(source) is clean


def test_bits_of_the_audio_are_not_those_of_the_picture(tmp_path: Path) -> None:
    audio = ["-f", "lavfi", "-i", "anoisesrc=duration=1:sample_rate=48000", "-c:a", "pcm_s16le"]
    clip = make_clip(tmp_path / "a.mkv", "-c:v", "libx264", "-crf", "35", size="160x120", num_frames=25, inputs=audio[:4])
    loud = make_clip(tmp_path / "b.mkv", "-c:v", "libx264", "-crf", "35", *audio[4:], size="160x120", num_frames=25, inputs=audio[:4])
    with Source(clip) as quiet, Source(loud) as noisy:
        alone, together = bits_per_pixel(quiet), bits_per_pixel(noisy)
        assert alone is not None
        assert together is not None
        assert together < alone + 0.5
        assert not is_clean(noisy)


@pytest.mark.parametrize(
    ("name", "url", "form"),
    [
        ("a.png", "a.png", "picture"),
        ("a.jpg", "a.jpg", "picture"),
        ("a.bmp", "a.bmp", "picture"),
        ("b%03d.png", "b%03d.png", "clean"),  # frames of a video, most likely
        ("b%03d.jpg", "b%03d.jpg", None),
        ("b%03d.jpg", "b001.jpg", "picture"),
    ],
)
def test_an_image_file_is_a_picture_and_a_row_of_them_is_not(tmp_path: Path, name: str, url: str, form: str | None) -> None:
    codec = {".png": "png", ".bmp": "bmp", ".jpg": "mjpeg"}[Path(name).suffix]
    make_clip(tmp_path / name, "-c:v", codec, num_frames=3 if "%" in name else 1)
    with Source(tmp_path / url) as source:
        assert form_of(source) == form
