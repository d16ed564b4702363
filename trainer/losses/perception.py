"""What people would see, as a loss: the frozen metric, or the plain feature distance, on a few crops of a batch.

Note [Grey]
    The networks make luma, and the metric looks at RGB. A luma plane is shown to it as a grey picture: studio code 16 is 0 and 235 is 1 in
    all three channels, and the target is shown the same way. Nothing is clipped: a quarter of the training crops is in full range, whose
    ends lie 7 to 9 % outside, and a clipped pixel would have no slope.

Axes: N, 1 or 3, H, W; luma in [0, 1] of its codes.
"""

import hashlib
import pathlib

import torch
from torch import Tensor

from trainer.losses.picture_loss import Score
from trainer.metric.encoder import Encoder, open_encoder
from trainer.metric.experiment import load_metric
from trainer.metric.feature_distance import lpips
from trainer.metric.pban_network import MIN_SIDE
from trainer.recipes import Recipe
from trainer.trainer_error import TrainerError


def grey_of(luma_N1HW: Tensor) -> Tensor:
    """Luma in [0, 1] of its codes -> (N, 3, H, W), Note [Grey]."""
    return luma_N1HW.mul(255 / 219).sub(16 / 219).expand(-1, 3, -1, -1)


def scheduled_share(step: int, recipe: Recipe) -> float:
    """How much of the perceptual weights counts at `step` (from 0): none, then a ramp, then all of them."""
    risen = step / recipe.steps - recipe.perception_start
    if risen < 0:
        return 0.0
    return min(1.0, risen / recipe.perception_ramp) if recipe.perception_ramp else 1.0


class Perception:
    """A recipe's perceptual terms. `share` of their weights counts; whoever runs the training sets it.

    metric: scores pictures, for `pban_weight`. encoder: for `feature_weight`. fingerprint: tells one metric from another.
    """

    def __init__(self, recipe: Recipe, metric: Score | None, encoder: Encoder | None, fingerprint: str = "") -> None:
        self.recipe, self.metric, self.encoder, self.fingerprint = recipe, metric, encoder, fingerprint
        self.share = 0.0

    def loss(self, sr_N1HW: Tensor, hr_N1HW: Tensor) -> Tensor:
        """The weighted sum for the first crops of the batch (which are random ones), the middle MIN_SIDE pixels of each."""
        recipe = self.recipe
        total = torch.zeros((), device=sr_N1HW.device)
        if self.share <= 0:
            return total
        sr, hr = (grey_of(_middle(x[: recipe.perception_crops])) for x in (sr_N1HW, hr_N1HW))
        if recipe.pban_weight and self.metric is not None:
            total = total + self.share * recipe.pban_weight * (1 - self.metric(sr, hr)).mean()
        if recipe.feature_weight and self.encoder is not None:
            total = total + self.share * recipe.feature_weight * lpips(self.encoder(sr), self.encoder(hr)).mean()
        return total


def _middle(x_NCHW: Tensor) -> Tensor:
    top, left = ((n - MIN_SIDE) // 2 for n in x_NCHW.shape[-2:])
    return x_NCHW[..., top : top + MIN_SIDE, left : left + MIN_SIDE]


def open_perception(recipe: Recipe, metric: pathlib.Path | None, device: torch.device) -> Perception | None:
    """What the recipe's loss needs; None where it has no perceptual term and no metric is given to measure with.

    metric: run folder, metric.pt, or the ONNX file that ships. Raises TrainerError where a recipe needs it and it is missing, or crops
    are too small for it.
    """
    if recipe.pban_weight and metric is None:
        raise TrainerError(
            f"Recipe {recipe.name!r} trains with Efficient-PBAN (pban_weight {recipe.pban_weight:g}): name it with "
            "--metric: streamsr/weights/metric/efficient_pban.onnx, which ships, or the run folder of python -m trainer metric. "
            "--pban-weight 0 trains without."
        )
    if metric is None and not recipe.feature_weight:
        return None
    side = recipe.crop * recipe.scale
    if (recipe.pban_weight or recipe.feature_weight) and side < MIN_SIDE:
        need = -(-MIN_SIDE // recipe.scale)
        looked = f"the perceptual loss looks at {MIN_SIDE}"
        raise TrainerError(f"A crop of {recipe.crop} makes {side} pixels; {looked}. Give --crop {need} or more.")
    encoder = open_encoder("efficientnet_lite0").eval().requires_grad_(False).to(device) if recipe.feature_weight else None
    if metric is None:
        return Perception(recipe, None, encoder)
    file = metric / "metric.pt" if metric.is_dir() else metric
    score = load_metric(metric).to(device)
    return Perception(recipe, score, encoder, hashlib.sha256(file.read_bytes()).hexdigest()[:16])
