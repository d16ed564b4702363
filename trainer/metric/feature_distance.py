"""How far apart two pictures are to an ImageNet network that never saw an opinion. Axes: N, C, H, W; features as an Encoder gives them.

`lpips` and `dists` are the published forms with all weights one, kept as baselines. `structure_terms` is what Efficient-PBAN starts from:
SSIM's two factors between features, in small windows, averaged with the local contrast as the weight.

Note [Contrast]
    People forgive lost texture in sand and smoke, and do not forgive garbled letters. A mean over positions counts both alike, and unit
    vectors even lift faint texture to the size of an edge. Weighing each position by the contrast that either picture has there raised
    the share of majorities predicted for every form of distance tried (README.md beside this). Contrast is measured in units of the
    variance that each channel has over photographs, so that a position's weight does not depend on the rest of its picture.
"""

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 5  # positions a side
FLOOR = 0.01  # of a channel's variance over photographs: SSIM's constants, below which differences do not count


def lpips(sr: list[Tensor], hr: list[Tensor]) -> Tensor:
    """Sum over stages of the mean squared difference of unit vectors: (N,). Source: Zhang et al., arXiv:1801.03924."""
    pairs = [(functional.normalize(a, dim=1), functional.normalize(b, dim=1)) for a, b in zip(sr, hr, strict=True)]
    return torch.stack([(a - b).square().sum(1).mean((1, 2)) for a, b in pairs]).sum(0)


def dists(sr: list[Tensor], hr: list[Tensor]) -> Tensor:
    """1 - the mean of texture and structure similarity of whole stages: (N,). Source: Ding et al., arXiv:2004.07728."""
    gaps = []
    for a, b in zip(sr, hr, strict=True):
        mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
        var_a, var_b = a.var((2, 3), unbiased=False), b.var((2, 3), unbiased=False)
        cov = (a * b).mean((2, 3)) - mean_a * mean_b
        texture = (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)
        structure = (2 * cov + 1e-6) / (var_a + var_b + 1e-6)
        gaps.append(1 - (texture + structure).mean(1) / 2)
    return torch.stack(gaps).mean(0)


def structure_terms(sr: Tensor, hr: Tensor, variance: Tensor) -> Tensor:
    """Contrast-weighted means of 1 - SSIM's luminance and structure factor of one stage, a channel each: (N, C, H, W) twice -> (N, 2, C).

    variance: (C,), of each channel over photographs (Note [Contrast]).
    """
    unit = variance.view(1, -1, 1, 1)
    floor = FLOOR * unit
    mean_a, mean_b = _window(sr), _window(hr)
    # around the mean of the original: squares of features far from zero would leave a float32 few bits for the variance
    middle = hr.mean((2, 3), keepdim=True)
    a, b, ma, mb = sr - middle, hr - middle, mean_a - middle, mean_b - middle
    var_a, var_b = (_window(a * a) - ma * ma).clamp_min(0), (_window(b * b) - mb * mb).clamp_min(0)
    cov = _window(a * b) - ma * mb
    luminance = (mean_a - mean_b).square() / (mean_a.square() + mean_b.square() + floor)
    structure = 1 - (2 * cov + floor) / (var_a + var_b + floor)
    contrast = (torch.maximum(var_a, var_b) / unit).mean(1, keepdim=True) + 1e-4
    weight = contrast / contrast.sum((2, 3), keepdim=True)
    return torch.stack([(weight * luminance).sum((2, 3)), (weight * structure).sum((2, 3))], 1)


def _window(x: Tensor) -> Tensor:
    half = WINDOW // 2
    return functional.avg_pool2d(functional.pad(x, (half,) * 4, mode="replicate"), WINDOW, stride=1)


def halved(rgb_NCHW: Tensor) -> Tensor:
    """Pictures at half size, for the second look."""
    return functional.avg_pool2d(rgb_NCHW, 2)
