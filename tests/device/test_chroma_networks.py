"""Networks of luma and chroma on the simulated GPU: the pictures of the CPU, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from both import assert_same, make_frames, on_cpu, on_device
from make_chroma import make_weights, write_chroma_model
from simulation import SimDevice
from surfaces import Surface

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
