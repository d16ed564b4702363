"""An attack raises a score that can be gamed, keeps its pairs, and a fit to them takes the gain away."""

import json
import pathlib

import numpy as np
import pytest
import torch
from drawn_scenes import draw_scene
from torch import Tensor

from streamsr.models import find_model
from trainer.export.onnx_luma_chroma import weights_of_onnx
from trainer.losses.picture_loss import rgb_of, viewed
from trainer.metric.attack import AttackOptions, attack, grid_of
from trainer.metric.opinions import read_opinions

SCENES = [draw_scene(seed) for seed in range(2)]


def dotted(sr: Tensor, hr: Tensor) -> Tensor:
    """A metric that likes neighbours to alternate, whatever the original: (N,) in (0, 1]."""
    return torch.tanh((sr[..., 2:] + sr[..., :-2] - 2 * sr[..., 1:-1]).abs().mean((1, 2, 3)))


def test_attack_raises_what_can_be_gamed_and_keeps_the_pairs(tmp_path: pathlib.Path) -> None:
    weights = weights_of_onnx(find_model("lite", 2).path)
    options = AttackOptions(steps=30, weight=10.0, lr=5e-3, batch=1, kept=2)
    before, after = attack(dotted, weights, SCENES, SCENES, tmp_path / "run", options)
    assert after.score > before.score + 0.05
    assert after.grid > before.grid + 3
    assert after.lpips > before.lpips + 0.1  # which the attacker was not told
    opinions = read_opinions(tmp_path / "run" / "pairs.csv", tmp_path / "run" / "images")
    assert len(opinions.choices) == 2 * 1  # scenes, damaged ways
    assert all(choice.prefer_b == 0 and choice.within and choice.image_b.endswith("_after.png") for choice in opinions.choices)
    assert json.loads((tmp_path / "run" / "report.json").read_text())["after"]["score"] == after.score


def test_grid_counts_a_pattern_and_no_slope() -> None:
    slope = np.add.outer(np.arange(64.0), 2 * np.arange(64.0))
    assert grid_of(slope) == 0
    assert grid_of(slope + 2 * (-1.0) ** np.arange(64)) == pytest.approx(4 * np.sqrt(2 / 3))


def test_views_show_both_pictures_from_the_same_side() -> None:
    import random

    picture = torch.rand(1, 3, 128, 160)
    sizes = set()
    for seed in range(12):
        one, other = viewed((picture, picture.clone()), random.Random(seed))
        assert torch.equal(one, other)
        assert min(one.shape[-2:]) >= 96
        sizes.add(tuple(one.shape))
    assert len(sizes) > 3


def test_colours_of_the_network_are_those_of_bt709() -> None:
    codes = torch.tensor([[235.0, 128, 128], [16, 128, 128], [63, 102, 240]]) / 255  # white, black, red
    made = torch.cat([codes[:, :1].expand(-1, 4), codes[:, 1:]], 1)[:, :, None, None].expand(-1, -1, 4, 4)
    rgb = rgb_of(made, 2)[:, :, 0, 0]
    assert torch.allclose(rgb, torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0]]), atol=5e-3)
