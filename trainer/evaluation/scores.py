"""Measures of upscaled luma, those of `streamsr compare`, over frames or single pictures. Planes are uint8 (H, W), studio codes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from streamsr.compare.measures import ms_ssim, psnr, ssim
from streamsr.compare.pban import PbanScorer
from streamsr.compare.vmaf import Vmaf, find_ffmpeg
from trainer.data.photos import Plane

SSIM_WINDOW = 11  # pixels: sides that one more scale of MS-SSIM needs


@dataclass(frozen=True)
class Scores:
    """Means over pictures or frames; higher is better. None: not measured (too small a picture, no ffmpeg with libvmaf)."""

    psnr: float = field(metadata={"label": "PSNR-Y", "digits": 2})  # dB
    ssim: float = field(metadata={"label": "SSIM-Y", "digits": 4})
    vmaf: float | None = field(default=None, metadata={"label": "VMAF", "digits": 2})
    vmaf_neg: float | None = field(default=None, metadata={"label": "VMAF-NEG", "digits": 2})
    efficient_pban: float | None = field(default=None, metadata={"label": "Eff-PBAN", "digits": 4})


def vmaf_of(results: Sequence[Plane], originals: Sequence[Plane], *, still: bool) -> list[dict[str, float]] | None:
    """libvmaf's numbers ("vmaf", "vmaf_neg") of every pair, in order; None without an ffmpeg that has libvmaf.

    still: the pictures are no run of frames: each is shown twice, because VMAF's motion feature is the smaller of the changes to the
    picture before and after, and nothing should move. Pictures may differ in size.
    """
    if find_ffmpeg() is None:
        return None
    found: dict[int, dict[str, float]] = {}
    for shape in sorted({plane.shape for plane in originals}):
        places = [i for i, plane in enumerate(originals) if plane.shape == shape]
        with Vmaf(shape[1], shape[0]) as vmaf:
            for i in places:
                for _ in range(1 + still):
                    vmaf.add(results[i], originals[i])
            found |= dict(zip(places, vmaf.finish()[:: 1 + still], strict=True))
    return [found[i] for i in range(len(originals))]


def ms_ssim_of(result: Plane, original: Plane) -> float:
    """MS-SSIM with as many of the five scales as fit into the picture."""
    scales = min(5, int(math.log2(min(original.shape) / SSIM_WINDOW)) + 1)
    return ms_ssim(result.astype(np.float32), original.astype(np.float32), scales=scales)


def grey_picture(luma: Plane) -> np.ndarray:
    """uint8 (H, W, 3): what a luma plane in studio codes looks like."""
    shown = np.clip(np.rint((luma.astype(np.float32) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
    return np.repeat(shown[..., None], 3, 2)


def measure(
    results: Sequence[np.ndarray], originals: Sequence[np.ndarray], *, border: int, still: bool, judge: PbanScorer | None,
    judge_every: int = 1,
) -> Scores:
    """Means over pairs of luma planes (H, W) in studio codes: uint8 frames, or float where a protocol does not round.

    border: pixels that PSNR and SSIM leave out. judge: of Efficient-PBAN, which sees every `judge_every`-th pair as a grey picture; without
    it neither that nor VMAF is measured.
    """
    inside = slice(border, -border)
    pairs = [(a[inside, inside].astype(np.float32), b[inside, inside].astype(np.float32)) for a, b in zip(results, originals, strict=True)]
    plain = float(np.mean([psnr(a, b) for a, b in pairs])), float(np.mean([ssim(a, b) for a, b in pairs]))
    if judge is None:
        return Scores(*plain)
    made, there = ([_codes(plane) for plane in planes] for planes in (results, originals))
    vmaf = vmaf_of(made, there, still=still)
    judged = [
        judge(grey_picture(a), grey_picture(b))
        for a, b in list(zip(made, there, strict=True))[::judge_every]
        if min(b.shape) >= judge.min_side
    ]
    return Scores(
        *plain,
        None if vmaf is None else float(np.mean([frame["vmaf"] for frame in vmaf])),
        None if vmaf is None else float(np.mean([frame["vmaf_neg"] for frame in vmaf])),
        float(np.mean(judged)) if judged else None,
    )


def mean_of(scores: Sequence[Scores]) -> Scores:
    """Mean of each measure over those that have it."""
    means = {}
    for one in fields(Scores):
        values = [value for score in scores if (value := getattr(score, one.name)) is not None]
        means[one.name] = float(np.mean(values)) if values else None
    return Scores(**means)  # type: ignore[arg-type]


def _codes(plane: np.ndarray) -> Plane:
    return plane if plane.dtype == np.uint8 else np.clip(np.rint(plane), 0, 255).astype(np.uint8)
