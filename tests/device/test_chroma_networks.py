"""Networks of luma and chroma on the simulated GPU: the pictures of the CPU, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from attentive import remembering_model
from both import assert_same, make_frames, on_cpu, on_device, planar, stills
from make_chroma import make_weights, write_chroma_model
from simulation import SimDevice
from surfaces import Surface

from streamsr.frame import Frame

LAYOUTS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"]


@pytest.fixture(scope="module")
def colour(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("colour")
    return {scale: write_chroma_model(make_weights(scale), folder) for scale in (2, 3)}


def compare(model: Path, frames: list[av.VideoFrame], scale: float = 2, *, given: list[Any] | None = None, **options: Any) -> SimDevice:
    upscaler, sim, networks = on_device(model, scale, **options)
    with upscaler:
        results = list(upscaler(iter(given or frames)))
        assert networks
    assert_same(results, on_cpu(model, scale, frames))
    return sim


@pytest.mark.parametrize("pix_fmt", LAYOUTS)
@pytest.mark.parametrize(("size", "scale", "trained"), [((96, 64), 2, 2), ((95, 63), 2, 2), ((64, 48), 3, 3), ((64, 48), 1.5, 2),
                                                        ((64, 48), 4, 2), ((50, 38), 2.5, 3)])  # fmt: skip
def test_luma_and_chroma_are_those_of_the_cpu(colour: dict[int, Path], pix_fmt: str, size: Any, scale: float, trained: int) -> None:
    compare(colour[trained], make_frames(5, size=size, pix_fmt=pix_fmt), scale)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_surfaces_of_a_decoder(colour: dict[int, Path], pix_fmt: str) -> None:
    frames = make_frames(6, pix_fmt=pix_fmt)
    compare(colour[2], frames, given=[Surface(frame) for frame in frames])


def test_gray_goes_by_way_of_the_host(colour: dict[int, Path]) -> None:
    frames = make_frames(3, pix_fmt="gray")
    upscaler, _, _ = on_device(colour[2], device="cpu")
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(colour[2], 2, frames))
    assert "has no chroma" in upscaler.notes[0]


def test_batches_and_tiles(colour: dict[int, Path]) -> None:
    frames = make_frames(9, size=(160, 96))
    compare(colour[2], frames, batch=2)
    whole = compare(colour[2], frames, frames_in_flight=1)
    upscaler, _, _ = on_device(colour[2], sim=SimDevice(budget=round(whole.peak * 0.8)), frames_in_flight=1)
    with upscaler:
        assert_same(list(upscaler(iter(frames))), on_cpu(colour[2], 2, frames))
    assert "tiles" in upscaler.notes[-1]


def test_another_engine_takes_over(colour: dict[int, Path]) -> None:
    compare(colour[2], make_frames(12), successor=(5, "float32"))


def test_strength_reaches_the_network(colour: dict[int, Path]) -> None:
    frames = make_frames(2)
    upscaler, _, _ = on_device(colour[2], strength=0.7)
    with upscaler:
        results = list(upscaler(iter(frames)))
    assert_same(results, on_cpu(colour[2], 2, frames, strength=0.7))


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Luma, chroma and a state, with attention."""
    return remembering_model(tmp_path_factory.mktemp("remembering"))[0]


@pytest.mark.parametrize(("pix_fmt", "size", "scale"), [("yuv420p", (64, 48), 2), ("yuv422p", (63, 47), 2), ("yuv444p", (48, 40), 1.5),
                                                        ("yuv420p10le", (40, 32), 4)])  # fmt: skip
@pytest.mark.parametrize("frames_in_flight", [1, 3])
def test_a_state_with_chroma_is_that_of_the_cpu(
    remembering: Path, pix_fmt: str, size: tuple[int, int], scale: float, frames_in_flight: int
) -> None:
    compare(remembering, make_frames(5, size=size, pix_fmt=pix_fmt), scale, frames_in_flight=frames_in_flight)


def test_frames_that_repeat_and_scenes_that_change_with_a_state(remembering: Path) -> None:
    compare(remembering, stills(10))


def test_surfaces_with_a_state(remembering: Path) -> None:
    frames = make_frames(4)
    compare(remembering, frames, given=[Surface(frame) for frame in frames])


def test_a_state_in_tiles(remembering: Path) -> None:
    frames = make_frames(3, size=(128, 80))
    whole = compare(remembering, frames, frames_in_flight=1)
    upscaler, _, _ = on_device(remembering, sim=SimDevice(budget=round(whole.peak * 0.8)), frames_in_flight=1)
    with upscaler:
        results = list(upscaler(iter(frames)))
    assert "tiles" in upscaler.notes[-1]
    assert_near(results, on_cpu(remembering, 2, frames), most=1)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_another_engine_takes_a_state_over(remembering: Path, dtype: str) -> None:
    frames = make_frames(8)
    upscaler, _, networks = on_device(remembering, successor=(3, dtype))
    with upscaler:
        results = list(upscaler(iter(frames)))
    assert len(networks[1].seen) > 2
    assert_near(results, on_cpu(remembering, 2, frames), most=0 if dtype == "float32" else 1)


def assert_near(results: list[av.VideoFrame], wanted: list[av.VideoFrame], *, most: int) -> None:
    """No sample is off by more codes."""
    assert len(results) == len(wanted)
    for result, other in zip(map(planar, results), wanted, strict=True):
        for plane, reference in zip(Frame(result).planes, Frame(other).planes, strict=True):
            assert np.abs(plane.astype(int) - reference).max() <= most
