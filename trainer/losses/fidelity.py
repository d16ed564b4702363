"""Two differentiable fidelity terms: how much of the original's information, and of its detail, a result carries.

They are the families that VMAF's features come from, so a network trained with them is also measured with PSNR and SSIM. Neither rewards
enhancement: gain over the original counts as 1, as in VMAF-NEG. Axes: N, 1, H, W; luma in [0, 1].
"""

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional

NOISE = 2.0  # variance of the eye's own noise, in codes of 255 squared (VIF)
_SIZES = (17, 9, 5, 3)  # windows of VIF's scales
SMALLEST = 41  # pixels a side that all of them fit into


@functools.cache
def _gaussian_rows(length: int, size: int, sigma: float, device: torch.device) -> Tensor:
    """(length - size + 1, length): each row a Gaussian window at its place, so that a blur is two matrix products.

    Five times as fast as a convolution of one channel on two Zen 4 cores.
    """
    x = torch.arange(size, dtype=torch.float32, device=device) - size // 2
    g = torch.exp(-(x**2) / (2 * sigma**2))
    rows = torch.zeros(length - size + 1, length, device=device)
    for i in range(rows.shape[0]):
        rows[i, i : i + size] = g / g.sum()
    return rows


def blur(x: Tensor, size: int, sigma: float) -> Tensor:
    """Gaussian of `size` taps over H and W, without padding, every channel alike."""
    down = _gaussian_rows(x.shape[-2], size, sigma, x.device)
    across = _gaussian_rows(x.shape[-1], size, sigma, x.device)
    return down @ x @ across.T


def information(result: Tensor, original: Tensor) -> Tensor:
    """Mean over four scales of VIF (1 = all information kept), gain limited to 1.

    Source: Sheikh and Bovik 2006, doi:10.1109/TIP.2005.859378.
    """
    d, r = result * 255, original * 255
    scores = []
    for scale, size in enumerate(_SIZES):
        if scale:
            both = blur(torch.cat([d, r], 1), size, size / 5)[..., ::2, ::2]
            d, r = both[:, :1], both[:, 1:]
        mu_d, mu_r, dd, rr, dr = blur(torch.cat([d, r, d * d, r * r, d * r], 1), size, size / 5).unbind(1)
        var_d, var_r = (dd - mu_d**2).clamp_min(0), (rr - mu_r**2).clamp_min(0)
        cov = dr - mu_d * mu_r
        g = (cov / (var_r + 1e-3)).clamp_min(0)
        noise = (var_d - g * cov).clamp_min(0)
        kept = torch.log2(1 + g.clamp_max(1) ** 2 * var_r / (noise + NOISE))
        scores.append(kept.sum() / torch.log2(1 + var_r / NOISE).sum().clamp_min(1e-3))
    return torch.stack(scores).mean()


# Watson et al. 1997: amplitudes of the 9/7 basis, (horizontal and vertical, diagonal) a level; visibility at three picture heights
_AMPLITUDE = ((0.67234, 0.72709), (0.41317, 0.49428), (0.22727, 0.28688), (0.11792, 0.15214))
_DEGREES = 3 * 1080 * math.pi / 180


def _visibility(level: int, *, diagonal: bool) -> float:
    t = math.log10(2 ** (level + 1) * 0.401 * (0.534 if diagonal else 1.0) / _DEGREES)
    return _AMPLITUDE[level][int(diagonal)] / (2 * 0.495 * 10 ** (0.466 * t * t))


def _wavelet(device: torch.device) -> Tensor:
    """Daubechies-2 analysis as four 4x4 kernels: approximation, horizontal, vertical, diagonal detail."""
    low = torch.tensor([0.482962913145, 0.836516303738, 0.224143868042, -0.129409522551], device=device)
    high = low.flip(0) * torch.tensor([1.0, -1.0, 1.0, -1.0], device=device)
    return torch.stack([torch.outer(a, b) for a, b in ((low, low), (high, low), (low, high), (high, high))]).unsqueeze(1)


def detail(result: Tensor, original: Tensor) -> Tensor:
    """Share of the original's visible wavelet detail that survives (1 = all). Source: Li et al. 2011, doi:10.1109/TMM.2011.2152382 (DLM).

    Detail is limited to the original's, and masked by what was added to it.
    """
    d, r = result * 255, original * 255
    kernels = _wavelet(d.device)
    kept, there = [], []
    for level in range(4):
        d4, r4 = functional.conv2d(d, kernels, stride=2), functional.conv2d(r, kernels, stride=2)
        d, r = d4[:, :1], r4[:, :1]
        weight = torch.tensor([_visibility(level, diagonal=k == 2) for k in range(3)], device=d.device).view(1, 3, 1, 1)
        o, t = r4[:, 1:] * weight, d4[:, 1:] * weight
        restored = torch.minimum(t * o.sign(), o.abs()).clamp_min(0)
        added = (t - restored * o.sign()).abs().sum(1, keepdim=True)
        mask = (functional.avg_pool2d(added, 3, 1, 1) * 9 + added) / 30
        kept.append(_cube_pool((restored - mask).clamp_min(0)))
        there.append(_cube_pool(o.abs()))
    return torch.stack(kept).sum() / torch.stack(there).sum()


def _cube_pool(x: Tensor) -> Tensor:
    # the constant keeps flat pictures from dividing nothing by nothing, and the root's slope finite at 0
    return (x**3).sum((0, 2, 3)).add(x.shape[0] * x.shape[2] * x.shape[3] / 32).pow(1 / 3).sum()
