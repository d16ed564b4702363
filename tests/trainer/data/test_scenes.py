"""Scenes as they are found: pairs that fit, labels that say what was done, chroma in its place."""

import pathlib
from typing import get_args

import numpy as np
import pytest
import torch
from drawn_scenes import draw_scene
from numpy.typing import NDArray
from PIL import Image
from streamsr_kernels import Filter

from streamsr.frame import find_layout
from streamsr.upscaling.chroma_grid import ChromaResampler, grid_of, network_grid
from trainer.data import as_found, scene_pool, scenes
from trainer.data.round_trip import DECODERS, draw_encoder, round_trip
from trainer.data.scene_crops import Batches, cut, on_luma_grid, turned, turned_phases
from trainer.data.scene_pool import load_pool, make_pool, make_scene
from trainer.data.yuv_planes import CENTRE, LEFT, SITES, TOP_LEFT, Site, rounded, subsample, to_luma_grid, to_yuv444
from trainer.trainer_error import TrainerError


def smooth(rows: NDArray, columns: NDArray) -> NDArray:
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.asarray(128 + 70 * np.sin(0.06 * y + 0.4) * np.cos(0.05 * x))


@pytest.fixture
def photo(tmp_path: pathlib.Path) -> pathlib.Path:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:480, 0:500]
    planes = [128 + 60 * np.sin(0.05 * x * (c + 1) + 0.03 * y) + rng.normal(0, 6, x.shape) for c in range(3)]
    path = tmp_path / "photo.png"
    Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)).save(path)
    return path


def test_grey_and_white_are_studio_codes() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 0, 255]]], np.uint8)
    yuv = to_yuv444(colours)[:, 0].T
    # ITU-R BT.709-6: black, white, and the primaries at full strength
    assert np.abs(yuv - [[16, 128, 128], [235, 128, 128], [62.56, 102.34, 240], [31.81, 240, 117.72]]).max() < 0.02


@pytest.mark.parametrize("site", SITES)
def test_chroma_samples_lie_where_the_site_says(site: Site) -> None:
    chroma = np.stack([smooth(np.arange(60), np.arange(80))] * 2)
    small = subsample(chroma, site)
    expected = smooth(site[0] + 2 * np.arange(30), site[1] + 2 * np.arange(40))
    assert np.abs(small[0] - expected)[2:-2, 2:-2].max() < 0.2  # the kernels are short; half a pixel away it would be 2


@pytest.mark.parametrize("kernel", get_args(Filter))
@pytest.mark.parametrize("site", [LEFT, CENTRE, TOP_LEFT])
def test_the_network_reads_chroma_where_the_result_has_it(site: Site, kernel: Filter) -> None:
    """The small picture's pixel k lies at 2 k + 1/2 of the large one, whose chroma sample j lies at 2 j + site."""
    small = np.stack([smooth(2 * (site[0] + 2 * np.arange(20)) + 0.5, 2 * (site[1] + 2 * np.arange(25)) + 0.5)] * 2)
    grid = to_luma_grid(small, site, 2, kernel)
    expected = smooth(site[0] + 2 * np.arange(40), site[1] + 2 * np.arange(50))
    assert np.abs(grid[0] - expected)[3:-3, 3:-3].max() < 1.0


@pytest.mark.parametrize("kernel", get_args(Filter))
@pytest.mark.parametrize(("site", "location"), [(LEFT, "left"), (CENTRE, "center"), (TOP_LEFT, "topleft")])
@pytest.mark.parametrize("scale", [2, 3])
def test_networks_learn_from_chroma_as_it_will_be_brought_to_them(site: Site, location: str, scale: int, kernel: Filter) -> None:
    chroma, layout = np.random.default_rng(0).integers(64, 192, (2, 20, 31), np.uint8), find_layout("yuv420p")
    assert layout is not None
    grid = grid_of(layout, location)
    brought = ChromaResampler(kernel)(chroma, grid, network_grid(grid, scale), (40, 62), bits=8)
    error = np.abs(rounded(to_luma_grid(chroma, site, scale, kernel)).astype(int) - brought)
    assert error.max() <= 2  # swscale leaves out taps that sum to 0.002
    assert error.mean() < 0.3


@pytest.mark.parametrize("site", [LEFT, CENTRE, TOP_LEFT])
@pytest.mark.parametrize("scale", [3, 4])
def test_targets_of_other_scales_lie_at_the_small_lumas_places(site: Site, scale: int) -> None:
    large = rounded(smooth(site[0] + 2 * np.arange(20 * scale), site[1] + 2 * np.arange(24 * scale)))
    small = on_luma_grid(large, site, scale, (40, 48))
    expected = smooth((np.arange(40) + 0.5) * scale - 0.5, (np.arange(48) + 0.5) * scale - 0.5)
    assert np.abs(small - expected)[3:-3, 3:-3].max() < 1.6  # half a small pixel away it would be 5 and more


def test_every_encoder_gives_every_frame_back() -> None:
    lumas = [rounded(smooth(np.arange(96) + t, np.arange(96))) for t in range(4)]
    frames = [(luma, np.stack([luma[::2, ::2]] * 2)) for luma in lumas]
    seen, rng = set(), np.random.default_rng(1)
    while len(seen) < len(DECODERS):
        name, options = draw_encoder(rng)
        if name in seen:
            continue
        seen.add(name)
        decoded = round_trip(frames, name, options)
        errors = [np.abs(one[0].astype(int) - other[0]).mean() for one, other in zip(decoded, frames, strict=True)]
        assert max(errors) < 8, name


def test_clean_is_nothing_but_small() -> None:
    frames = [scenes.draw_still(np.random.default_rng(3))[: scenes.SIDE, : scenes.SIDE]] * 2
    found = as_found.degrade(frames, 2, LEFT, np.random.default_rng(0), clean=True)
    assert (found.blur, found.damage) == (0.0, 0.0)
    assert found.pictures[0][0].shape == (160, 160)
    assert found.pictures[0][1].shape == (2, 80, 80)
    assert as_found.told(0, 0) == (0, 0)
    assert as_found.told(1.0, 3.0) == (0.5, 0.5)
    assert as_found.told(9.0, 1e6) == (1.0, 1.0)


@pytest.mark.parametrize("unit", [1.0, 1.5, 2.0])
def test_blur_is_the_kernels_spread(unit: float) -> None:
    rng = np.random.default_rng(0)
    largest = 0.0
    for _ in range(40):
        kernel, blur = as_found.draw_blur(rng, unit)
        reach = kernel.shape[0] // 2
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        variance = float((kernel * (x**2 + y**2)).sum() / 2)
        assert 0 <= blur <= np.sqrt(variance) / unit + 1e-6  # equal for what is round
        largest = max(largest, blur)
    assert 1.5 < largest < 2.0  # at every scale the same in pixels of the source


def test_scenes_are_the_same_every_time(photo: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 2)
    one, other = (make_scene(photo, seed=5, scale=2) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert one["ly"].shape == (2, 2, 160, 160)
    assert one["condition"][0].tolist() == [0, 0]


def test_a_pool_of_runs_has_every_frame_in_its_order(photo: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 1)
    arrays = make_scene(photo, seed=6, scale=2, runs=True)
    frames = scenes.open_scene(photo, np.random.default_rng(6))
    assert len(arrays["hy"]) == arrays["ly"].shape[1] == len(frames) == scenes.NUM_FRAMES
    for luma, frame in zip(arrays["hy"], frames, strict=True):
        assert np.abs(luma - as_found.to_yuv444(frame)[0]).max() <= 0.51


def test_a_run_is_one_place_under_one_condition_forwards_or_backwards() -> None:
    scene = draw_scene(1, frames=scenes.NUM_FRAMES)
    for frame, level in enumerate(range(40, 40 + 20 * scenes.NUM_FRAMES, 20)):  # frames that can be told apart
        scene.hy[frame], scene.ly[:, frame] = level, level
    batches, steps = Batches([scene], scale=2, batch=8, crop=16, seed=3, chroma_filter="linear", frames=4), set()
    for _ in range(4):
        x, y, _ = batches.draw()
        assert x.shape == (4, 8, 5, 16, 16)
        assert torch.equal(x[:, :, 3:], x[:1, :, 3:].expand(4, 8, 2, 16, 16))
        luma = x[:, :, 0].mean((2, 3))
        torch.testing.assert_close(luma, y[:, :, :4].mean((2, 3, 4)))
        steps |= {round(float(step)) for step in luma.diff(dim=0).flatten() * 255}
    assert steps == {-20, 20, -23, 23}  # limited range, and full


def test_two_frames_at_random_are_no_run() -> None:
    with pytest.raises(TrainerError, match="Runs of 2 frames cannot be drawn from scenes of 2"):
        Batches([draw_scene(1)], scale=2, batch=1, crop=16, seed=3, chroma_filter="linear", frames=2)


def test_pool_goes_on_and_splits(photo: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 1)
    folder = tmp_path / "scenes"
    (tmp_path / "broken.png").write_bytes(b"no picture")
    make_pool([photo, tmp_path / "broken.png"], folder, scale=2, rounds=1)
    files = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(files) == 2  # the photograph and a drawing
    make_pool([photo, tmp_path / "broken.png"], folder, scale=2, rounds=1)
    assert files == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(TrainerError, match="0 validation scenes"):
        load_pool(folder)
    next(folder.glob("drawn_*")).rename(folder / "val_00_x.npz")
    training, validation = load_pool(folder)
    assert (len(training), len(validation)) == (1, 1)


def test_orientations_turn_both_sides_alike(photo: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 1)
    arrays = make_scene(photo, seed=1, scale=2)
    site = arrays.pop("site")
    scene = scene_pool.Scene(**arrays, site=(float(site[0]), float(site[1])))
    x, y = cut(scene, 0, 0, 2, 20, 36, 48, "lanczos")
    for turn in range(8):
        small, phases = turned(x, turn), torch.from_numpy(turned_phases(y, turn, 2).copy())[None]
        large = torch.nn.functional.pixel_shuffle(phases[:, :4], 2)
        mean = torch.nn.functional.avg_pool2d(large, 2)[0, 0].numpy()
        assert np.abs(mean - small[0]).mean() < 0.02
        assert np.abs(phases[0, 4:].numpy() - small[1:3]).mean() < 0.02


def test_batches_go_on_where_they_were(photo: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 2)
    arrays = make_scene(photo, seed=1, scale=2)
    site = arrays.pop("site")
    scene = scene_pool.Scene(**arrays, site=(float(site[0]), float(site[1])))
    scene.ly[1] = 0  # found otherwise than clean
    batches = Batches([scene], scale=2, batch=5, crop=32, seed=7, chroma_filter="linear")
    batches.draw()
    state = batches.rng.bit_generator.state
    x, y, is_clean = batches.draw()
    batches.rng.bit_generator.state = state
    again, y_again, clean_again = batches.draw()
    assert torch.equal(x, again)
    assert torch.equal(y, y_again)
    assert torch.equal(is_clean, clean_again)
    assert set(is_clean.tolist()) == {True, False}
    assert torch.equal(is_clean, x[0, :, 0].amax((1, 2)) > 0)
    assert x.shape == (1, 5, 5, 32, 32)
    assert y.shape == (1, 5, 6, 32, 32)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1
