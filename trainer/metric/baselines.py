"""What other measures say of the pictures that people judged: the numbers that the metric has to beat. All of them: higher is better."""

from collections.abc import Sequence

import numpy as np

from streamsr.compare.measures import ms_ssim, psnr, ssim
from streamsr.compare.vmaf import Vmaf, find_ffmpeg
from trainer.data.photos import luma_of, read_rgb
from trainer.metric.feature_cache import Group, Looks


def baseline_scores(groups: Sequence[Group], looks: Sequence[Looks]) -> dict[str, dict[str, float]]:
    """By measure, then by file name: PSNR, SSIM, three- and five-scale SSIM of full-range luma, VMAF (where there is an ffmpeg with
    libvmaf), and the two untrained feature distances.
    """
    found: dict[str, dict[str, float]] = {}

    def add(measure: str, name: str, value: float) -> None:
        found.setdefault(measure, {})[name] = value

    for group, look in zip(groups, looks, strict=True):
        original = read_rgb(group.original)
        pictures = [read_rgb(path) for path in group.pictures]
        reference = _full_luma(original)
        for path, picture, unit_distance, texture_distance in zip(group.pictures, pictures, look.lpips, look.dists, strict=True):
            luma = _full_luma(picture)
            add("PSNR", path.name, psnr(luma, reference))
            add("SSIM", path.name, ssim(luma, reference))
            add("MS-SSIM, three scales", path.name, ms_ssim(luma, reference, scales=3))
            add("MS-SSIM", path.name, ms_ssim(luma, reference))
            add("untrained, DISTS form", path.name, -float(texture_distance))
            add("untrained, LPIPS form", path.name, -float(unit_distance))
        if find_ffmpeg() is not None:
            codes = [np.rint(luma_of(picture)).astype(np.uint8) for picture in (original, *pictures)]
            with Vmaf(original.shape[1], original.shape[0]) as vmaf:
                for plane in codes[1:]:
                    vmaf.add(plane, codes[0])
                for path, frame in zip(group.pictures, vmaf.finish(), strict=True):
                    add("VMAF", path.name, frame["vmaf"])
                    add("VMAF-NEG", path.name, frame["vmaf_neg"])
    return found


def _full_luma(rgb: np.ndarray) -> np.ndarray:
    return ((luma_of(rgb) - 16) * (255 / 219)).astype(np.float32)
