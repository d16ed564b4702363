"""Training learns, and a resumed run is the uninterrupted one, bit for bit."""

import dataclasses
import os
import pathlib
import signal
from typing import Any

import onnx
import pytest
import torch

from trainer import training_loop
from trainer.checkpoint import load_checkpoint
from trainer.data.crops import CropSampler
from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.photos import list_photos, split_photos
from trainer.data.stills import clean_pairs
from trainer.export.onnx_lite import onnx_of
from trainer.losses.training_loss import training_loss
from trainer.nets import build_network
from trainer.recipes import lite_clean
from trainer.trainer_error import TrainerError
from trainer.training_loop import LoopOptions, learning_rate, train

RECIPE = dataclasses.replace(lite_clean(2), steps=12, batch=2, crop=16, warmup=3, channels=4, layers=1)


@pytest.fixture(scope="module")
def caches(photos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PairCache, PairCache]:
    folder = tmp_path_factory.mktemp("cache")
    parts = split_photos(list_photos(photos))
    assert all(parts)
    training, validation = (
        open_cache(folder / str(i), part[:4], make=clean_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8) for i, part in enumerate(parts)
    )
    return training, validation


def options(out: pathlib.Path, **changes: object) -> LoopOptions:
    given = LoopOptions(out=out, device="cpu", precision="32-true", save_every=5, validate_every=6)
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


def test_resumed_run_equals_the_uninterrupted_one(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    recipe = dataclasses.replace(RECIPE, accumulate=2)
    train(recipe, *caches, options(tmp_path / "whole"))
    train(recipe, *caches, options(tmp_path / "parts", stop_at=7))
    assert load_checkpoint(tmp_path / "parts")["step"] == 7
    torch.manual_seed(999)  # whatever happens in between must not matter
    train(recipe, *caches, options(tmp_path / "parts"))
    whole, parts = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert parts["step"] == whole["step"] == 12
    for name in ("model", "ema"):
        assert all(torch.equal(whole[name][k], parts[name][k]) for k in whole[name])
    moments = [s["optimiser"]["state"] for s in (whole, parts)]
    for parameter, state in moments[0].items():
        for name, moment in state.items():
            other = moments[1][parameter][name]
            assert torch.equal(moment, other) if isinstance(moment, torch.Tensor) else moment == other
    assert whole["crop_rng"] == parts["crop_rng"]
    assert torch.equal(whole["torch_rng"], parts["torch_rng"])
    assert whole["metrics"] == parts["metrics"]


def test_loss_that_is_no_number_stops_with_the_step_and_the_last_good_checkpoint(
    caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def break_at_the_eighth_step(*given: Any) -> torch.Tensor:
        calls.append(given)
        return training_loss(*given) * (float("nan") if len(calls) == 8 else 1.0)

    monkeypatch.setattr(training_loop, "training_loss", break_at_the_eighth_step)
    with pytest.raises(TrainerError, match=r"not finite at step 8; .*last\.ckpt' holds step 5, the last good one"):
        train(RECIPE, *caches, options(tmp_path))
    assert load_checkpoint(tmp_path)["step"] == 5


def test_training_beats_its_start(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    recipe = dataclasses.replace(RECIPE, steps=500, batch=8)
    train(recipe, *caches, options(tmp_path / "short", stop_at=1))
    train(recipe, *caches, options(tmp_path / "long", validate_every=500, save_every=500))
    first, last = (load_checkpoint(tmp_path / name)["metrics"]["psnr"] for name in ("short", "long"))
    assert last > first + 0.3


def test_a_checkpoint_of_another_recipe_is_refused(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    train(RECIPE, *caches, options(tmp_path, stop_at=1))
    other = dataclasses.replace(RECIPE, name="lite_x9", lr=1e-4)
    with pytest.raises(TrainerError, match=r"belongs to another run.*name 'lite_clean_x2' there, 'lite_x9' here.*--init-from"):
        train(other, *caches, options(tmp_path))


def test_a_run_seeded_from_another_starts_with_its_averaged_weights(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    train(RECIPE, *caches, options(tmp_path / "first"))
    frozen = dataclasses.replace(RECIPE, name="second", lr=0.0, steps=1)
    net = train(frozen, *caches, options(tmp_path / "second", init_from=tmp_path / "first"))
    expected = load_checkpoint(tmp_path / "first")["ema"]
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_a_run_seeded_from_an_exported_network_starts_with_its_weights(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    net = build_network(RECIPE)
    onnx.save(onnx_of(net), tmp_path / "lite_x2.onnx")
    frozen = dataclasses.replace(RECIPE, name="second", lr=0.0, steps=1)
    seeded = train(frozen, *caches, options(tmp_path / "second", init_from=tmp_path / "lite_x2.onnx"))
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in seeded.state_dict().items())


def test_what_is_no_exported_network_seeds_nothing(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(TrainerError, match=r"text\.onnx' is not an exported network"):
        train(RECIPE, *caches, options(tmp_path / "run", init_from=tmp_path / "text.onnx"))


def test_cache_returns_the_planes_that_were_made(caches: tuple[PairCache, PairCache], photos: pathlib.Path) -> None:
    first = split_photos(list_photos(photos))[0][0]
    (hr, versions), *_ = clean_pairs(first, 0, 2)
    assert (caches[0].hr(0) == hr).all()
    assert all((caches[0].lr(0, i) == version).all() for i, version in enumerate(versions))


def test_some_crops_reach_code_0_and_stay_aligned(caches: tuple[PairCache, PairCache]) -> None:
    sampler = CropSampler(caches[0], crop=16, batch=64, seed=3)
    lr, hr = sampler.draw()
    assert float(min(lr.min(), hr.min())) < 16 / 255  # full range and black bars: else 0 is taken for the outside of the picture
    assert float(max(lr.max(), hr.max())) <= 1
    # the same levels and bars on both: block means of the target stay near the source
    gaps = (torch.nn.functional.avg_pool2d(hr, 2) - lr).abs().mean((1, 2, 3))
    assert float(gaps.max()) < 0.05


def test_crops_too_small_for_the_fidelity_terms_are_refused(caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path) -> None:
    small = dataclasses.replace(RECIPE, information_weight=0.2, crop=20)
    with pytest.raises(TrainerError, match=r"crop is 20: targets of 40 .* take 41"):
        train(small, *caches, options(tmp_path / "small"))
    train(dataclasses.replace(small, crop=21, steps=1), *caches, options(tmp_path / "enough"))


def test_ctrl_c_saves_the_step_and_the_same_command_goes_on(
    caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rate(step: int, recipe: object) -> float:
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return learning_rate(step, recipe)  # type: ignore[arg-type]

    monkeypatch.setattr(training_loop, "learning_rate", rate)
    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, *caches, options(tmp_path / "run"))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "run")["step"] == 4  # save_every is 5
    train(RECIPE, *caches, options(tmp_path / "run", stop_at=5))
    assert load_checkpoint(tmp_path / "run")["step"] == 5
