"""The Upscaler with a model of luma and chroma: every format goes through it, and chroma ends where it belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from make_chroma import make_weights, reference, write_chroma_model
from make_model import make_network, write_model
from streamsr_kernels import Filter

from streamsr.errors import UsageError
from streamsr.frame import Frame, find_layout
from streamsr.upscaling.chroma_grid import ChromaResampler, grid_of, network_grid
from streamsr.upscaling.source_condition import Condition
from streamsr.upscaling.upscaler import Upscaler

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv411p", "yuva420p", "gray", "gbrp", "gbrap", "yuv420p10le", "yuv444p16le", "gray12le"]
# a network that repeats luma and leaves chroma alone
STILL = {name: np.zeros_like(value) for name, value in make_weights(2, interpolates=False).items()}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_chroma_model(make_weights(2), tmp_path)


def frame_of(pix_fmt: str, width: int = 66, height: int = 50) -> av.VideoFrame:
    """A smooth picture with some noise."""
    video = av.VideoFrame(width, height, pix_fmt)
    layout = find_layout(pix_fmt)
    assert layout is not None
    rng = np.random.default_rng(2)
    for index, plane in enumerate(Frame(video).planes):
        y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
        wave = 0.5 + 0.3 * np.sin((0.09 + 0.03 * index) * x + 0.2) * np.cos(0.08 * y) + rng.normal(0, 0.01, plane.shape)
        plane[:] = np.rint(np.clip(wave, 0, 1) * layout.max_code)
    video.pts = 3
    return video


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("scale", [2, 3, 4, 1.5])
def test_every_format_and_factor_goes_through(model: Path, pix_fmt: str, scale: float) -> None:
    with Upscaler(model, scale, engine="openvino", strength=0.3) as upscaler:
        result = upscaler(frame_of(pix_fmt))
    with Upscaler("resize", scale) as plain:
        like = plain(frame_of(pix_fmt))
    assert (result.format.name, result.width, result.height, result.pts) == (pix_fmt, like.width, like.height, 3)
    assert all(plane.std() > 0 for plane in Frame(result).planes)


@pytest.mark.parametrize("kernel", get_args(Filter))
def test_420_is_what_the_network_made(model: Path, kernel: Filter) -> None:
    description = model.with_suffix(".json")
    description.write_text(json.dumps(json.loads(description.read_text()) | {"chroma_filter": kernel}))
    video = frame_of("yuv420p")
    with Upscaler(model, 2, engine="openvino", precision="f32", strength=0.5) as upscaler:
        luma, *chroma = Frame(upscaler(video)).planes
        damage = upscaler.condition_of(Frame(video).luma, 8).damage
    layout = find_layout("yuv420p")
    assert layout is not None
    own = grid_of(layout, "left")
    planes = ChromaResampler(kernel)(np.stack(Frame(video).planes[1:]), own, network_grid(own, 2), (50, 66), bits=8)
    expected, expected_chroma = reference(make_weights(2), Frame(video).luma / 255, planes / 255, (0.5, damage))
    assert np.abs(luma - np.clip(expected, 0, 1) * 255).max() < 0.51
    assert np.abs(np.stack(chroma) - np.clip(expected_chroma, 0, 1) * 255).max() < 0.51


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "gbrp", "yuv420p10le"])
@pytest.mark.parametrize("scale", [2, 3])
def test_colours_stay_in_their_place(tmp_path: Path, pix_fmt: str, scale: int) -> None:
    """A network that does nothing gives FFmpeg's enlarged chroma, but for linear interpolation in place of Lanczos."""
    model = write_chroma_model(STILL, tmp_path)
    video = frame_of(pix_fmt, 64, 48)
    with Upscaler(model, scale, engine="openvino", precision="f32", strength=0) as upscaler, Upscaler("resize", scale) as plain:
        made, expected = Frame(upscaler(video)).planes, Frame(plain(video)).planes
    step = 1 << (find_layout(pix_fmt).bits - 8)  # type: ignore[union-attr]
    for index in (1, 2):
        error = np.abs(made[index].astype(float) - expected[index])[4:-4, 4:-4] / step
        assert error.mean() < 2.0  # noise of 2.5 codes and its interpolation; half a sample away it would be 4 and more


def test_odd_sizes_keep_their_last_column(tmp_path: Path) -> None:
    model = write_chroma_model(STILL, tmp_path)
    video = frame_of("yuv420p", 61, 43)
    planes = Frame(video).planes
    planes[1][:, -5:], planes[2][-5:] = 250, 240  # more than Lanczos reaches
    with Upscaler(model, 2, engine="openvino", strength=0) as upscaler:
        result = Frame(upscaler(video)).planes
    assert result[1].shape == (43, 61)
    assert np.all(result[1][:, -1] == 250)
    assert np.all(result[2][-1] == 240)


def test_a_frame_with_other_chroma_is_no_repetition(model: Path) -> None:
    first, other = frame_of("yuv420p"), frame_of("yuv420p")
    Frame(other).planes[1][:] = 90
    with Upscaler(model, 2, engine="openvino", strength=0) as upscaler:
        results = list(upscaler([first, first, other]))
        assert upscaler.num_reused == 1
    assert np.abs(Frame(results[1]).planes[1].astype(int) - Frame(results[2]).planes[1]).mean() > 10


def test_strength_is_refused_where_it_means_nothing(tmp_path: Path, model: Path) -> None:
    luma_only = write_model(make_network(channels=8, layers=4), tmp_path, "plain")
    with pytest.raises(UsageError, match="takes no strength"):
        Upscaler(luma_only, 2, strength=0.5)
    with pytest.raises(UsageError, match="must be 0"):
        Upscaler(model, 2, strength=1.5)


def test_what_a_network_is_told(tmp_path: Path) -> None:
    """A known source by its condition, the natural look adds a little; what the user says goes first; a clean source is as it is."""
    weights = make_weights(2)
    natural = write_chroma_model(weights, tmp_path, "natural")
    faithful = write_chroma_model(weights, tmp_path, "exact", look="faithful")
    luma, known = Frame(frame_of("gray")).luma, Condition(0.4, 0.3)
    told = []
    for model, options in ((natural, {}), (faithful, {"look": "faithful"}), (natural, {"strength": 0.7}), (natural, {"damage": 0.9})):
        with Upscaler(model, 2, **options) as upscaler:  # type: ignore[arg-type]
            upscaler.turn_to(2, condition=known)
            told.append(upscaler.condition_of(luma, 8))
            upscaler.turn_to(2, form="clean", condition=known)
            assert upscaler.condition_of(luma, 8) == Condition(options.get("strength", 0.0), options.get("damage", 0.0))
    assert [(round(one.blur, 3), one.damage) for one in told] == [(0.44, 0.3), (0.4, 0.3), (0.7, 0.3), (0.44, 0.9)]
