"""The guard: a metric that rewards garbage loses its weight, and a resumed run does the same."""

import dataclasses
import pathlib

import pytest
import torch

from streamsr.compare.vmaf import find_ffmpeg
from trainer.checkpoint import load_checkpoint
from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.photos import list_photos, split_photos
from trainer.data.stills import clean_pairs
from trainer.metric_guard import STEP, Guard, open_guard
from trainer.recipes import lite_clean, natural
from trainer.trainer_error import TrainerError
from trainer.training_loop import LoopOptions, train

needs_vmaf = pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")
RECIPE = dataclasses.replace(
    natural(lite_clean(2)), steps=40, batch=2, crop=48, warmup=1, channels=4, layers=1, lr=0.01, pban_weight=5.0,
    perception_start=0.0, perception_ramp=0.2, perception_crops=1,
)  # fmt: skip


class LikesNoise(torch.nn.Module):
    """A stub of the metric: the rougher the better, whatever the original."""

    def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        rough = (sr[..., 1:] - sr[..., :-1]).abs().mean((1, 2, 3))
        return rough / (1 + rough)


class LikesTheOriginal(torch.nn.Module):
    def forward(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        return torch.exp(-10 * (sr - hr).abs().mean((1, 2, 3)))


@pytest.fixture(scope="module")
def caches(photos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[PairCache, PairCache]:
    folder = tmp_path_factory.mktemp("cache")
    training, validation = (
        open_cache(folder / str(i), part[:2], make=clean_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)
        for i, part in enumerate(split_photos(list_photos(photos)))
    )
    return training, validation


def options(out: pathlib.Path, metric: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, **changes: object) -> LoopOptions:
    file = out.parent / "metric.pt"
    file.write_bytes(type(metric).__name__.encode())
    monkeypatch.setattr("trainer.losses.perception.load_metric", lambda _: metric)
    given = LoopOptions(out=out, device="cpu", save_every=1000, validate_every=5, metric=file)
    return dataclasses.replace(given, **changes)  # type: ignore[arg-type]


def test_the_weight_goes_back_a_step_where_a_guard_turns_down() -> None:
    guard, recipe = Guard(), dataclasses.replace(RECIPE, neg_tolerance=0.5, ms_ssim_tolerance=0.002)
    assert guard.look({"vmaf_neg": 80.0, "ms_ssim": 0.95}, 0.0, recipe) is None
    assert guard.look({"vmaf_neg": 79.6, "ms_ssim": 0.9485}, 0.3, recipe) is None  # within what is tolerated
    assert guard.look({"vmaf_neg": 81.0, "ms_ssim": 0.95}, 0.4, recipe) is None
    assert guard.limit(0.9) == 0.9
    acted = guard.look({"vmaf_neg": 80.4, "ms_ssim": 0.95}, 0.5, recipe)
    assert acted is not None
    assert "vmaf_neg 80.4000 is 0.6000 below its best" in acted
    assert "ms_ssim" not in acted
    assert guard.limit(0.9) == pytest.approx(0.5 - STEP)
    assert guard.look({"vmaf_neg": 81.5, "ms_ssim": 0.95}, 0.4, recipe) is None
    assert guard.limit(1.0) == pytest.approx(0.4)  # it rises no more
    acted = guard.look({"vmaf_neg": 81.5, "ms_ssim": 0.947}, 0.4, recipe)
    assert acted is not None
    assert "ms_ssim 0.9470" in acted
    assert guard.limit(1.0) == pytest.approx(0.3)


def test_without_a_weight_nothing_is_taken_back() -> None:
    guard = Guard()
    guard.look({"vmaf_neg": 80.0, "ms_ssim": 0.95}, 0.0, RECIPE)
    assert guard.look({"vmaf_neg": 60.0, "ms_ssim": 0.9}, 0.0, RECIPE) is None
    assert guard.look({"vmaf_neg": 60.0, "ms_ssim": 0.9}, 0.1, RECIPE) is None  # what was lost before the weight counted is not its fault
    assert guard.ceiling == 1


@needs_vmaf
def test_a_metric_that_rewards_garbage_is_taken_back(
    caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train(RECIPE, *caches, options(tmp_path / "run", LikesNoise(), monkeypatch))
    state = load_checkpoint(tmp_path / "run")
    assert state["guard"]["ceiling"] < 0.7
    assert state["metrics"]["perceptual_share"] < 0.8
    said = capsys.readouterr().out
    assert "guard: vmaf_neg" in said
    assert "goes back from" in said
    assert "ms_ssim" in said
    # with the weight left alone the damage is larger
    monkeypatch.setattr("trainer.metric_guard.Guard.limit", lambda _, scheduled: scheduled)
    train(RECIPE, *caches, options(tmp_path / "unguarded", LikesNoise(), monkeypatch))
    assert load_checkpoint(tmp_path / "unguarded")["metrics"]["vmaf_neg"] < state["metrics"]["vmaf_neg"]


@needs_vmaf
def test_an_honest_metric_keeps_its_weight(
    caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = dataclasses.replace(RECIPE, pban_weight=0.05, lr=1e-3, neg_tolerance=2.0)  # 40 steps on two pictures shake VMAF-NEG by 1
    train(recipe, *caches, options(tmp_path / "run", LikesTheOriginal(), monkeypatch))
    state = load_checkpoint(tmp_path / "run")
    assert state["guard"]["ceiling"] == 1
    assert state["metrics"]["perceptual_share"] == 1
    assert state["metrics"]["efficient_pban"] > 0.3


@needs_vmaf
def test_a_resumed_guarded_run_equals_the_uninterrupted_one(
    caches: tuple[PairCache, PairCache], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(RECIPE, *caches, options(tmp_path / "whole", LikesNoise(), monkeypatch))
    train(RECIPE, *caches, options(tmp_path / "parts", LikesNoise(), monkeypatch, stop_at=27))
    assert load_checkpoint(tmp_path / "parts")["guard"]["ceiling"] < 1
    train(RECIPE, *caches, options(tmp_path / "parts", LikesNoise(), monkeypatch))
    whole, parts = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    assert whole["guard"] == parts["guard"]
    assert whole["metrics"] == parts["metrics"]
    assert all(torch.equal(whole["model"][k], parts["model"][k]) for k in whole["model"])
    given = options(tmp_path / "parts", LikesNoise(), monkeypatch)
    assert given.metric is not None
    given.metric.write_bytes(b"another")
    with pytest.raises(TrainerError, match="trained with another metric"):
        train(RECIPE, *caches, given)


def test_without_libvmaf_there_is_no_natural_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.metric_guard.find_ffmpeg", lambda: None)
    with pytest.raises(TrainerError, match="guarded by VMAF-NEG, which needs an ffmpeg with libvmaf"):
        open_guard(RECIPE)
    assert open_guard(lite_clean(2)) is None
