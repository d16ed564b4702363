"""Moving sequences are drawn aligned, train a recurrent network, and resume exactly; what is wrong with the data is said."""

import dataclasses
import itertools
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

import trainer.unroll
from trainer.checkpoint import load_checkpoint
from trainer.data.codec import NUM_FRAMES, SIDE
from trainer.data.motion import camera_sequence, clean_sequence_pairs, sequence_pairs
from trainer.data.pair_cache import PairCache, open_cache
from trainer.data.photos import list_photos
from trainer.data.sequences import SequenceSampler, fixed_sequences
from trainer.losses.training_loss import temporal_charbonnier
from trainer.nets import Base, build_network
from trainer.recipes import base, recipe_named
from trainer.trainer_error import TrainerError
from trainer.training_loop import LoopOptions, train
from trainer.unroll import backward

RECIPE = dataclasses.replace(
    base(2), channels=8, layers=2, radius=2, steps=6, batch=2, crop=16, frames=4, truncate=2, warmup=2,
    information_weight=0.0, detail_weight=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(photos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> PairCache:
    folder = tmp_path_factory.mktemp("sequences")
    return open_cache(folder, list_photos(photos)[:2], make=sequence_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)


def options(out: pathlib.Path, **changes: object) -> LoopOptions:
    return dataclasses.replace(LoopOptions(out=out, device="cpu", save_every=3, validate_every=6), **changes)  # type: ignore[arg-type]


def test_runs_are_aligned_and_move(cache: PairCache) -> None:
    lr, hr = SequenceSampler(cache, frames=5, crop=24, batch=12, seed=1).draw()
    assert lr.shape == (5, 12, 1, 24, 24)
    assert hr.shape == (5, 12, 1, 48, 48)
    gaps = (torch.nn.functional.avg_pool2d(hr.flatten(0, 1), 2) - lr.flatten(0, 1)).abs().mean((1, 2, 3))
    assert float(gaps.median()) < 0.03  # compressed ones are further off
    assert float((hr[1:] - hr[:-1]).abs().mean()) > 0.001


def test_clean_runs_are_shrunk_and_nothing_else(photos: pathlib.Path) -> None:
    [(hr, versions)] = clean_sequence_pairs(list_photos(photos)[0], 3, 2)
    often, seldom = versions[0], versions[-1]
    assert hr.shape == (NUM_FRAMES * SIDE, SIDE)
    assert all(version is often for version in versions[:-1])
    small = hr.reshape(NUM_FRAMES * SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    for version in (often, seldom):
        assert version.shape == small.shape
        assert np.abs(version - small).mean() < 1.5  # codes: what the kernels differ by
    assert not np.array_equal(often, seldom)


def test_camera_moves_by_fractions_and_fills_the_frame() -> None:
    y, x = np.mgrid[:600, :700]
    luma = (128 + 60 * np.sin(x / 11) + 40 * np.cos(y / 13)).astype(np.uint8)
    changes = []
    for seed in range(4):
        frames = camera_sequence(luma, rng=np.random.default_rng(seed), num_frames=4)
        assert all(frame.shape == (SIDE, SIDE) and frame.min() > 20 for frame in frames)  # black would be the outside of the picture
        changes += [np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(frames)]
    assert 0 < np.median(changes) < 30


def test_fixed_sequences_are_whole_and_the_same(cache: PairCache) -> None:
    first, again = (fixed_sequences(cache, crop=96, limit=3) for _ in range(2))
    assert all(lr.shape == (NUM_FRAMES, 1, 1, 96, 96) and hr.shape == (NUM_FRAMES, 1, 1, 192, 192) for lr, hr in first)
    assert all(torch.equal(a, b) for one, other in zip(first, again, strict=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("truncate", [1, 2, 4])
def test_truncated_gradients_are_those_of_a_plain_unroll(truncate: int) -> None:
    torch.manual_seed(0)
    recipe = dataclasses.replace(RECIPE, truncate=truncate)
    net = build_network(recipe).double()
    assert isinstance(net, Base)
    lr, hr = torch.rand(4, 2, 1, 8, 8).double(), torch.rand(4, 2, 1, 16, 16).double()
    total = backward(net, net, lr, hr, recipe, lambda loss: loss.backward())
    got = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    state, loss, made = net.first_state(lr[0]), torch.zeros(()).double(), []
    for t in range(4):
        if t % truncate == 0:
            state, made = tuple(one.detach() for one in state), [one.detach() for one in made]
        sr, state = net(lr[t], state)
        loss = loss + torch.sqrt((sr - hr[t]) ** 2 + 1e-6).mean() / 4
        if made:
            change = (sr - made[-1]) - (hr[t] - hr[t - 1])
            loss = loss + recipe.temporal_weight * torch.sqrt(change**2 + 1e-6).mean() / 3
        made.append(sr)
    loss.backward()
    expected = [p.grad for p in net.parameters() if p.grad is not None]
    assert float(total) == pytest.approx(loss.item())
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(got, expected, strict=True))
    assert all((p.grad is not None) == (truncate > 1) for p in net.update.parameters())


def test_flicker_costs_and_motion_does_not() -> None:
    frames = torch.rand(2, 1, 1, 8, 8)
    still = temporal_charbonnier(frames[1] + 0.1, frames[0] + 0.1, frames[1], frames[0], 1e-3)
    assert float(still) == pytest.approx(1e-3, rel=1e-3)
    assert float(temporal_charbonnier(frames[1] + 0.1, frames[0] - 0.1, frames[1], frames[0], 1e-3)) == pytest.approx(0.2, rel=1e-3)


def test_resumed_run_equals_the_uninterrupted_one(cache: PairCache, tmp_path: pathlib.Path) -> None:
    recipe = dataclasses.replace(RECIPE, accumulate=2)
    train(recipe, cache, cache, options(tmp_path / "whole"))
    train(recipe, cache, cache, options(tmp_path / "parts", stop_at=4))
    torch.manual_seed(999)
    train(recipe, cache, cache, options(tmp_path / "parts"))
    whole, parts = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts")
    for name in ("model", "ema"):
        assert all(torch.equal(whole[name][key], parts[name][key]) for key in whole[name])
    assert whole["crop_rng"] == parts["crop_rng"]
    assert whole["metrics"] == parts["metrics"]


def test_loss_that_is_no_number_stops_with_the_step_and_the_last_good_checkpoint(
    cache: PairCache, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def break_at_the_fifth_step(*given: object) -> torch.Tensor:
        calls.append(given)
        return trainer.unroll.backward(*given) * (float("nan") if len(calls) == 5 else 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr("trainer.training_loop.backward", break_at_the_fifth_step)
    with pytest.raises(TrainerError, match=r"not finite at step 5; .*last\.ckpt' holds step 3, the last good one"):
        train(RECIPE, cache, cache, options(tmp_path))
    assert load_checkpoint(tmp_path)["step"] == 3


def test_broken_and_small_pictures_are_named_skipped_and_counted(
    photos: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.new("RGB", (40, 300)).save(tmp_path / "narrow.png")
    bad = list_photos(tmp_path)
    made = open_cache(tmp_path / "c", [*bad, list_photos(photos)[0]], make=sequence_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)
    told = capsys.readouterr().out
    assert len(made.pairs) == 1
    assert "skipped: Cannot read the picture" in told
    assert "broken.png" in told
    assert "narrow.png' is 40x300; training needs 64" in told
    assert "2 photographs skipped" in told
    with pytest.raises(TrainerError, match="None of the 2 photographs can be used"):
        open_cache(tmp_path / "d", bad, make=sequence_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)


def test_runs_that_cannot_be_drawn_are_refused(cache: PairCache) -> None:
    with pytest.raises(TrainerError, match="A run of 40 frames"):
        SequenceSampler(cache, frames=40, crop=16, batch=1, seed=0)
    with pytest.raises(TrainerError, match=r"A crop of 500 .* fit into sequences of 192"):
        SequenceSampler(cache, frames=4, crop=500, batch=1, seed=0)




@pytest.mark.parametrize("name", ["base_x2", "base_x3", "base_x4", "max_x2"])
def test_recipes_build_their_networks(name: str) -> None:
    recipe = recipe_named(name)
    net = build_network(recipe)
    assert isinstance(net, Base)
    assert net.recurrent == name.startswith("base")
    assert net.macs_per_pixel < (100_000 if net.recurrent else 700_000)
