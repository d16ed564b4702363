"""Clips: measures mean what they say, a recurrent export is the run on every engine, and ablations leave out one thing at a time."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
import torch

from streamsr.upscale import Upscaler
from trainer.ablate import ablate, ablation_table, variants
from trainer.cache import PairCache, open_cache
from trainer.checkpoint import FORMAT
from trainer.clips import clip_table, evaluate_clip, evaluate_clips, list_clips, open_recurrent, read_luma
from trainer.errors import TrainerError
from trainer.export import ExportOptions, export
from trainer.loop import LoopOptions
from trainer.motion import sequence_pairs
from trainer.nets import build_network
from trainer.photos import list_photos
from trainer.recipes import base, recipe_named

CLIPS = pathlib.Path(__file__).parents[1] / "clips"
RECIPE = dataclasses.replace(base(2), channels=8, layers=2, radius=2, steps=2, batch=1, crop=16, frames=2, truncate=2, warmup=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkpoint of a recurrent network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    state = {"format": FORMAT, "recipe": dataclasses.asdict(RECIPE), "step": 3, "seconds": 1.5, "metrics": {}}
    torch.save(state | {"ema": build_network(RECIPE).state_dict()}, path)
    return path


def drifting(num_frames: int) -> list[np.ndarray]:
    y, x = np.mgrid[:96, :128]
    return [np.rint(128 + 50 * np.sin((x + t) / 6) + 40 * np.cos((y + x + t) / 9)).astype(np.uint8) for t in range(num_frames)]


def test_perfect_frames_have_no_flicker_and_the_originals_warping_error() -> None:
    originals = drifting(6)
    score = evaluate_clip("x", originals, lambda _: originals, 2)
    assert score.psnr > 100
    assert score.flicker == 0
    assert score.warping == score.warping_original
    assert 25 < score.psnr_lanczos < 60


def test_flicker_shows_where_psnr_does_not() -> None:
    originals = drifting(6)
    steady = evaluate_clip("x", originals, lambda _: [frame + 3 for frame in originals], 2)
    restless = evaluate_clip("x", originals, lambda _: [frame - 3 if t % 2 else frame + 3 for t, frame in enumerate(originals)], 2)
    assert steady.psnr == pytest.approx(restless.psnr)
    assert (steady.flicker, restless.flicker) == (0, 6)
    assert restless.warping > steady.warping_original + 4 > steady.warping


def test_export_of_a_recurrent_run_is_the_run_on_every_engine(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    card = export(run, tmp_path, None, ExportOptions(name="base"))
    assert card["state_shapes"] == [{"name": "state_0", "channels": 8, "scale": 1}]
    assert json.loads((tmp_path / "base_x2.json").read_text())["macs_per_pixel"] == build_network(RECIPE).macs_per_pixel
    frames = [frame[::2, ::2] for frame in drifting(5)]
    expected = open_recurrent(run)[0](frames)
    results = [upscaled(tmp_path, frames, engine) for engine in ("openvino", "onnxruntime")]
    for made in (open_recurrent(tmp_path / "base_x2.onnx")[0](frames), *results):
        # torch and the engines add in another order: a code may be rounded the other way
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(made, expected, strict=True)) <= 1
    with pytest.raises(TrainerError, match="no int8 form yet"):
        export(run, tmp_path, [np.zeros((1, 1, 32, 32), np.float32)], ExportOptions())


def upscaled(folder: pathlib.Path, frames: list[np.ndarray], engine: str) -> list[np.ndarray]:
    import av

    from streamsr.frame import Frame

    videos = [av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="gray") for frame in frames]
    with Upscaler(folder / "base_x2.onnx", engine=engine, precision="f32", threads=1) as upscaler:
        return [np.array(Frame(video).luma) for video in upscaler(videos)]


def test_folder_of_clips_is_scored(run: pathlib.Path) -> None:
    [score] = evaluate_clips(run, CLIPS, count=3)
    assert score.name == "bunny.mp4"
    assert score.psnr_lanczos > 25
    assert "bunny.mp4" in clip_table([score])


def test_wrong_folders_and_files_are_said(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match="There is no clip in"):
        list_clips(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    with pytest.raises(TrainerError, match=r"Cannot decode .*broken\.mp4"):
        read_luma(tmp_path / "broken.mp4", 3)


def test_ablation_trains_each_variant_alike(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    cache: PairCache = open_cache(tmp_path / "c", list_photos(photos)[:1], make=sequence_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)
    rows = ablate(RECIPE, cache, cache, LoopOptions(out=tmp_path, device="cpu"))
    assert [row["variant"] for row in rows] == ["attention", "no attention", "no recurrence"]
    assert {row["steps"] for row in rows} == {2}
    macs = [build_network(variant).macs_per_pixel for variant in variants(RECIPE).values()]
    assert macs == sorted(macs, reverse=True)
    assert json.loads((tmp_path / "ablation.json").read_text()) == rows
    assert "no attention" in ablation_table(rows)
    with pytest.raises(TrainerError, match="has no state"):
        variants(recipe_named("lite_x2"))
