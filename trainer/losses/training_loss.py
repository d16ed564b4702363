"""What a training step minimises. Axes: N, C, H, W; luma in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from trainer.losses.fidelity import blur, detail, information
from trainer.recipes import Recipe

if TYPE_CHECKING:
    from trainer.losses.perception import Perception


def charbonnier(sr: Tensor, hr: Tensor, eps: float) -> Tensor:
    """Smooth L1: sqrt(d^2 + eps^2), mean. Source: Lai et al., LapSRN, arXiv:1710.01992."""
    return torch.sqrt((sr - hr) ** 2 + eps * eps).mean()


def gradient_l1(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 of the differences between neighbours: blur costs more than a constant offset."""
    d = sr - hr
    return (d[..., :, 1:] - d[..., :, :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of (N, C, H, W) in [0, 1]. Source: Wang et al. 2004; Gaussian window, sigma 1.5, K 0.01 and 0.03."""
    a, b = (x.flatten(0, 1).unsqueeze(1) for x in (a, b))
    mu_a, mu_b, aa, bb, ab = blur(torch.cat([a, b, a * a, b * b, a * b], dim=1), 11, 1.5).unbind(1)
    var_a, var_b, cov = aa - mu_a**2, bb - mu_b**2, ab - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    return (((2 * mu_a * mu_b + c1) * (2 * cov + c2)) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))).mean()


def sharpened(hr: Tensor, gain: float) -> Tensor:
    """Targets (N, 1, H, W) with an unsharp gain on their finest detail: a Gaussian of one pixel is what is not detail."""
    return hr + gain * (hr - blur(functional.pad(hr, (2, 2, 2, 2), mode="replicate"), 5, 1.0))


def training_loss(sr: Tensor, hr: Tensor, recipe: Recipe, perception: Perception | None = None) -> Tensor:
    """The weighted sum that the recipe asks for. perception: its perceptual terms, where it has some."""
    target = sharpened(hr, recipe.gain) if recipe.gain else hr
    loss = charbonnier(sr, target, recipe.charbonnier_eps)
    if recipe.gradient_weight:
        loss = loss + recipe.gradient_weight * gradient_l1(sr, target)
    if recipe.ssim_weight:
        loss = loss + recipe.ssim_weight * (1 - ssim(sr, target))
    # a quarter of the (random) crops is enough for the two terms that cost more than the network
    few = (len(sr) + 3) // 4
    if recipe.information_weight:
        loss = loss + recipe.information_weight * (1 - information(sr[:few], target[:few]))
    if recipe.detail_weight:
        loss = loss + recipe.detail_weight * (1 - detail(sr[:few], target[:few]))
    if perception is not None:
        loss = loss + perception.loss(sr, hr)
    return loss
