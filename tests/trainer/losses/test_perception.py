"""The metric as a loss: what it is shown, when it counts, and what is said where it is missing."""

import dataclasses
import pathlib

import numpy as np
import pytest
import torch

from trainer.losses.perception import Perception, grey_of, open_perception, scheduled_share
from trainer.losses.training_loss import training_loss
from trainer.metric.encoder import open_encoder
from trainer.metric.feature_distance import lpips
from trainer.recipes import RECIPES, lite, natural, recipe_named
from trainer.trainer_error import TrainerError

RECIPE = dataclasses.replace(natural(lite(2)), steps=1000, perception_start=0.1, perception_ramp=0.4)


def closeness(sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
    """A stub of the metric."""
    return torch.exp(-(sr - hr).square().mean((1, 2, 3)))


def test_luma_is_shown_as_a_grey_picture_of_studio_codes() -> None:
    luma = torch.tensor([16, 235, 125.5, 0, 255]).div(255).view(1, 1, 1, 5)
    shown = grey_of(luma)
    assert shown.shape == (1, 3, 1, 5)
    assert torch.equal(shown[:, 0], shown[:, 2])
    np.testing.assert_allclose(shown[0, 0, 0], [0, 1, 0.5, -16 / 219, 239 / 219], atol=1e-6)  # the ends of full range are not clipped


def test_the_weight_is_zero_then_rises_then_stays() -> None:
    shares = [scheduled_share(step, RECIPE) for step in (0, 99, 100, 300, 500, 999)]
    np.testing.assert_allclose(shares, [0, 0, 0, 0.5, 1, 1], atol=1e-12)
    assert scheduled_share(0, dataclasses.replace(RECIPE, perception_start=0.0, perception_ramp=0.0)) == 1


def test_the_loss_is_the_weighted_score_of_the_middle_of_the_first_crops() -> None:
    hr = torch.rand(4, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    sr = (hr * 0.9).requires_grad_()
    perception = Perception(RECIPE, closeness, None)
    plain = training_loss(sr, hr, RECIPE)
    assert torch.equal(training_loss(sr, hr, RECIPE, perception), plain)
    perception.share = 0.5
    added = (training_loss(sr, hr, RECIPE, perception) - plain).detach()
    middle = slice(16, 112)
    score = closeness(grey_of(sr[:2, :, middle, middle]), grey_of(hr[:2, :, middle, middle])).detach()
    assert float(added) == pytest.approx(0.5 * RECIPE.pban_weight * float((1 - score).mean()), rel=1e-4)
    perception.loss(sr, hr).backward()
    assert sr.grad is not None
    assert sr.grad[:2, :, middle, middle].abs().min() > 0
    assert sr.grad[2:].abs().max() == sr.grad[:, :, :16].abs().max() == 0


def test_the_feature_distance_is_the_untrained_encoders() -> None:
    encoder = open_encoder("efficientnet_lite0").eval()
    recipe = dataclasses.replace(RECIPE, pban_weight=0.0, feature_weight=0.3)
    perception = Perception(recipe, None, encoder)
    perception.share = 1.0
    hr = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    sr = hr.flip(3)
    with torch.no_grad():
        expected = 0.3 * lpips(encoder(grey_of(sr)), encoder(grey_of(hr))).mean()
        assert float(perception.loss(sr, hr)) == pytest.approx(float(expected), rel=1e-5)
        assert float(perception.loss(hr, hr)) == pytest.approx(0, abs=1e-6)


def test_what_is_missing_is_said(tmp_path: pathlib.Path) -> None:
    device = torch.device("cpu")
    with pytest.raises(TrainerError, match=r"'lite_natural_x2' trains with Efficient-PBAN .*--metric"):
        open_perception(RECIPE, None, device)
    with pytest.raises(TrainerError, match="no metric at"):
        open_perception(RECIPE, tmp_path / "nowhere", device)
    with pytest.raises(TrainerError, match=r"looks at 96\. Give --crop 48 or more"):
        open_perception(dataclasses.replace(RECIPE, crop=40), tmp_path, device)
    assert open_perception(lite(2), None, device) is None


@pytest.mark.parametrize("name", sorted(name for name in RECIPES if "natural" in name))
def test_natural_recipes_add_the_metric_to_the_faithful_ones(name: str) -> None:
    recipe = recipe_named(name)
    assert recipe.name == name
    assert recipe.flavour == "natural"
    assert recipe.pban_weight > 0
    assert recipe.ssim_weight == 0  # MS-SSIM guards
    assert recipe.crop * recipe.scale >= 96
    faithful = recipe_named(name.replace("_natural", ""))
    assert faithful.flavour == "faithful"
    same = {"name", "description", "flavour", "pban_weight"}
    assert {field.name for field in dataclasses.fields(recipe) if getattr(recipe, field.name) != getattr(faithful, field.name)} == same
