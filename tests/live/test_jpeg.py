"""JPEGs of frames against FFmpeg's own program and Pillow: size, colours, and the frame left as it was."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from media import ffmpeg, make_clip
from PIL import Image

from streamsr.live.jpeg import MAX_WIDTH, JpegEncoder, fit

MEAN_LOSS = 5.0  # of 255: JPEG at quantiser 3 and 4:2:0 on testsrc2's hard edges; a wrong matrix or range costs 10 and more


def first_frame(path: Path) -> av.VideoFrame:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def rgb(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(float)


@pytest.mark.parametrize(
    ("pix_fmt", "matrix", "value_range"),
    [
        ("yuv420p", "bt709", "tv"), ("yuv420p", "smpte170m", "tv"), ("yuv420p", "bt709", "pc"), ("yuvj420p", "smpte170m", "pc"),
        ("yuv422p10le", "bt709", "tv"), ("yuv444p", "bt709", "tv"), ("gray", "bt709", "tv"),
    ],
)  # fmt: skip
def test_colours_are_those_that_ffmpeg_shows(tmp_path: Path, pix_fmt: str, matrix: str, value_range: str) -> None:
    convert = f"scale=out_color_matrix={matrix}:out_range={value_range},format={pix_fmt}"
    clip = make_clip(
        tmp_path / "clip.mkv", "-vf", convert, "-c:v", "ffv1", "-pix_fmt", pix_fmt, "-colorspace", matrix, "-color_range", value_range,
        size="320x240", num_frames=1,
    )  # fmt: skip
    shown = np.frombuffer(ffmpeg("-i", clip, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(240, 320, 3)
    assert np.abs(rgb(JpegEncoder().encode(first_frame(clip))) - shown).mean() < MEAN_LOSS


@pytest.mark.parametrize("size", ["1920x1080", "1281x721", "64x48", "33x31", "2560x64", "3x2"])
def test_the_whole_picture_within_the_limit(size: str, tmp_path: Path) -> None:
    frame = av.VideoFrame(*map(int, size.split("x")), "yuv444p")
    picture = Image.open(io.BytesIO(JpegEncoder().encode(frame)))
    assert picture.size == fit(frame.width, frame.height)
    assert picture.width <= MAX_WIDTH
    shrink = min(1.0, MAX_WIDTH / frame.width)
    assert abs(picture.width - frame.width * shrink) <= 1
    assert abs(picture.height - frame.height * shrink) <= 1


def test_one_encoder_takes_sizes_and_formats_as_they_come() -> None:
    encoder = JpegEncoder()
    for width, pix_fmt in ((64, "yuv420p"), (64, "rgb24"), (32, "yuv420p10le"), (64, "yuvj420p"), (64, "yuva444p")):
        assert Image.open(io.BytesIO(encoder.encode(av.VideoFrame(width, 48, pix_fmt)))).size == (width, 48)


def test_the_frame_stays_as_it_was(tmp_path: Path) -> None:
    for pix_fmt in ("yuv420p", "yuvj420p"):
        clip = make_clip(tmp_path / f"{pix_fmt}.mkv", "-c:v", "ffv1", "-pix_fmt", pix_fmt, num_frames=1)
        frame = first_frame(clip)
        frame.pts = 1234
        before = frame.to_ndarray().copy()
        JpegEncoder().encode(frame)
        assert frame.pts == 1234
        assert np.array_equal(frame.to_ndarray(), before)
