"""What a run is measured with while it trains: fixed crops of photographs that it never sees."""

import numpy as np
import torch
from torch import Tensor

from trainer.data.crops import fixed_crops
from trainer.data.pair_cache import PairCache
from trainer.data.photos import Plane
from trainer.data.rgb_pairs import fixed_colour_crops, luma_of_unit
from trainer.evaluation.scores import ms_ssim_of, vmaf_of
from trainer.losses.perception import Score, grey_of
from trainer.losses.training_loss import ssim
from trainer.metric.pban_network import MIN_SIDE
from trainer.nets import Lite
from trainer.recipes import Recipe
from trainer.trainer_error import TrainerError

Checks = list[tuple[Tensor, Tensor]]
NUM_JUDGED = 40  # crops at most that the metric looks at in a validation


def open_checks(cache: PairCache, recipe: Recipe) -> Checks:
    """What validation looks at: (lr, hr), (1, planes, H, W) each."""
    if recipe.degradation == "colour":
        return fixed_colour_crops(cache, crop=96, limit=160, planes=recipe.planes)
    return fixed_crops(cache, crop=96, limit=160)


@torch.no_grad()
def validate(net: Lite, checks: Checks, device: torch.device, *, guarded: bool = False, score: Score | None = None) -> dict[str, float]:
    """Mean PSNR and SSIM over the checks, and PSNR's gain over bicubic, on rounded 8-bit luma, a border of 2 left out.

    guarded: also VMAF-NEG and MS-SSIM, which no loss knows. score: the metric, measured on some of the crops ("efficient_pban").
    """
    found: dict[str, list[float]] = {"psnr": [], "gain": [], "ssim": []}
    made_planes: list[Plane] = []
    original_planes: list[Plane] = []
    judged: list[float] = []
    judge_every = -(-len(checks) // NUM_JUDGED)
    for lr_NCHW, hr_NCHW in checks:
        lr_NCHW, hr_NCHW = lr_NCHW.to(device), hr_NCHW.to(device)
        made = net(lr_NCHW.contiguous(memory_format=torch.channels_last))
        plain = torch.nn.functional.interpolate(lr_NCHW, scale_factor=net.scale, mode="bicubic")
        sr, base, hr = _codes(luma_of_unit(made)), _codes(luma_of_unit(plain)), luma_of_unit(hr_NCHW)
        psnr = _psnr(sr, hr)
        found["psnr"].append(psnr)
        found["gain"].append(psnr - _psnr(base, hr))
        found["ssim"].append(float(ssim(sr, hr)))
        if guarded:
            made_planes.append(_plane(sr))
            original_planes.append(_plane(hr))
        if score is not None and len(found["psnr"]) % judge_every == 0 and min(hr.shape[-2:]) >= MIN_SIDE:
            judged.append(float(score(grey_of(sr), grey_of(hr))))
    if not found["psnr"]:
        raise TrainerError("There is nothing to validate on: every validation photograph was skipped, or the cache has no room for one.")
    if judged:
        found["efficient_pban"] = judged
    if guarded:
        vmaf = vmaf_of(made_planes, original_planes, still=True)
        assert vmaf is not None, "open_guard looks for libvmaf"
        found["vmaf_neg"] = [frame["vmaf_neg"] for frame in vmaf]
        found["ms_ssim"] = [ms_ssim_of(a, b) for a, b in zip(made_planes, original_planes, strict=True)]
    return {name: float(np.mean(values)) for name, values in found.items()}


def _codes(x: Tensor) -> Tensor:
    return x.mul(255).round().clamp(0, 255).div(255)


def _plane(x: Tensor) -> Plane:
    return x[0, 0].mul(255).round().to(torch.uint8).cpu().numpy()


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10(((a - b)[..., 2:-2, 2:-2] ** 2).mean().clamp_min(1e-9)))
