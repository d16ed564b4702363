"""The Upscaler with a model of luma and chroma that remembers: a stream is a plain loop, and starts anew where frames do not go on."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from attentive import remembering_model
from test_upscaler_chroma import frame_of

from streamsr.frame import Frame
from streamsr.upscaling.upscaler import Upscaler


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return remembering_model(tmp_path_factory.mktemp("remembering"))[0]


def moving(num: int, pix_fmt: str = "yuv420p", *, inverted: bool = False) -> list[av.VideoFrame]:
    """A picture that drifts by two luma samples a frame."""
    frames = []
    for t in range(num):
        video = frame_of(pix_fmt)
        for plane in Frame(video).planes:
            rolled = np.roll(plane, t * 2 * plane.shape[1] // video.width, 1)
            plane[:] = 255 - rolled if inverted else rolled
        video.pts = t
        frames.append(video)
    return frames


def planes(video: av.VideoFrame) -> list[np.ndarray]:
    return [np.array(plane) for plane in Frame(video).planes]


def upscaled(model: Path, frames: list[av.VideoFrame], **options: object) -> list[list[np.ndarray]]:
    with Upscaler(model, **({"engine": "openvino", "precision": "f32", "threads": 1, "strength": 0.3} | options)) as upscaler:  # type: ignore[arg-type]
        return [planes(video) for video in upscaler(iter(frames))]


def same(one: list[list[np.ndarray]], other: list[list[np.ndarray]]) -> bool:
    return all(np.array_equal(a, b) for frame, like in zip(one, other, strict=True) for a, b in zip(frame, like, strict=True))


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "gray", "gbrp"])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_stream_is_its_frames_one_by_one(model: Path, pix_fmt: str, threads: int) -> None:
    frames = moving(5, pix_fmt)
    stream = upscaled(model, frames, threads=threads)
    with Upscaler(model, engine="openvino", precision="f32", threads=1, strength=0.3) as upscaler:
        assert same(stream, [planes(upscaler(frame)) for frame in frames])
        upscaler.restart()
        assert not same(stream[4:], [planes(upscaler(frames[4]))])  # what came before counts


@pytest.mark.parametrize("kind", ["cut", "seek"])
def test_what_does_not_go_on_starts_anew(model: Path, kind: str) -> None:
    before, after = moving(3), moving(3, inverted=kind == "cut")
    for number, video in enumerate(after):
        video.pts = 1 + number if kind == "seek" else 3 + number
    whole = upscaled(model, before + after)
    assert same(whole[:3], upscaled(model, before))
    assert same(whole[3:], upscaled(model, after))


def test_chroma_is_part_of_what_is_remembered(model: Path) -> None:
    """The same luma with other chroma in the first frame changes the second."""
    first, second = moving(2)
    grey = moving(1)[0]
    for plane in Frame(grey).planes[1:]:
        plane[:] = 128
    one, other = upscaled(model, [first, second]), upscaled(model, [grey, second])
    assert not np.array_equal(one[1][0], other[1][0])
    assert not np.array_equal(one[1][1], other[1][1])
