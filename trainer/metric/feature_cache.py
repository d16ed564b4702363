"""What the frozen encoder sees of a picture beside its original, computed once and kept: training then takes seconds, not hours.

A group is one original and the pictures judged against it. Axes: V versions, K terms, C, h, w of the last stage.
"""

import hashlib
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.data.photos import read_rgb
from trainer.metric.encoder import Encoder
from trainer.metric.feature_distance import dists, halved, lpips, structure_terms
from trainer.trainer_error import TrainerError

FORMAT = 1  # raise it when what is computed here changes
NUM_SCALES = 2  # native and half size


@dataclass(frozen=True)
class Group:
    """An original and its versions; `content` is what splits go by."""

    content: str
    original: pathlib.Path
    pictures: tuple[pathlib.Path, ...]


@dataclass(frozen=True)
class Looks:
    """What the encoder sees of a group. terms: float32 (V, K), as `terms_of` orders them; sr, hr: float16 (V, C, h, w), (1, C, h, w)."""

    terms: Tensor
    sr: Tensor
    hr: Tensor
    lpips: Tensor  # (V,), untrained distances, for the table of baselines
    dists: Tensor


def picture_tensor(path: pathlib.Path) -> Tensor:
    """RGB (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(read_rgb(path).copy()).permute(2, 0, 1)[None].float() / 255


def terms_of(sr: list[list[Tensor]], hr: list[list[Tensor]], variances: Sequence[Tensor]) -> Tensor:
    """(N, K): scale by scale, stage by stage, luminance then structure, channel by channel.

    sr, hr: stages at native and at half size.
    """
    found = []
    for sr_stages, hr_stages in zip(sr, hr, strict=True):
        found += [structure_terms(a, b, v).flatten(1) for a, b, v in zip(sr_stages, hr_stages, variances, strict=True)]
    return torch.cat(found, 1)


def stages_at_both_scales(encoder: Encoder, rgb_NCHW: Tensor) -> list[list[Tensor]]:
    """The encoder's stages of pictures at native and at half size."""
    return [encoder(rgb_NCHW), encoder(halved(rgb_NCHW))]


@torch.no_grad()
def measure_variances(encoder: Encoder, photos: Sequence[pathlib.Path]) -> list[Tensor]:
    """Variance of each channel over photographs, a (C,) a stage: Note [Contrast] of trainer.metric.feature_distance."""
    means: list[list[Tensor]] = [[] for _ in encoder.channels]
    squares: list[list[Tensor]] = [[] for _ in encoder.channels]
    for photo in photos:
        for i, stage in enumerate(encoder(picture_tensor(photo))):
            means[i].append(stage.mean((0, 2, 3)))
            squares[i].append(stage.square().mean((0, 2, 3)))
    return [torch.stack(q).mean(0) - torch.stack(m).mean(0).square() for m, q in zip(means, squares, strict=True)]


def look_at(encoder: Encoder, variances: Sequence[Tensor], group: Group, cache: pathlib.Path) -> Looks:
    """Look at a group, or read what was seen before. Raises TrainerError when sizes differ within the group."""
    words = [str(FORMAT), type(encoder).__name__, f"{float(variances[-1].sum()):.6g}"]
    words += [f"{path.parent.name}/{path.name}:{path.stat().st_size}" for path in (group.original, *group.pictures)]
    file = cache / f"{hashlib.sha256('|'.join(words).encode()).hexdigest()[:24]}.npz"
    if not file.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(partial, **_look(encoder, variances, group))  # type: ignore[arg-type]
        partial.replace(file)
    with np.load(file) as arrays:
        return Looks(**{name: torch.from_numpy(arrays[name]) for name in arrays})


@torch.no_grad()
def _look(encoder: Encoder, variances: Sequence[Tensor], group: Group) -> dict[str, np.ndarray]:
    original = picture_tensor(group.original)
    hr = stages_at_both_scales(encoder, original)
    found: dict[str, list[Tensor]] = {name: [] for name in ("terms", "sr", "lpips", "dists")}
    for path in group.pictures:
        picture = picture_tensor(path)
        if picture.shape != original.shape:
            sizes = [f"{p.shape[3]} x {p.shape[2]}" for p in (picture, original)]
            raise TrainerError(f"{str(path)!r} is {sizes[0]}, its original {str(group.original)!r} {sizes[1]}.")
        sr = stages_at_both_scales(encoder, picture)
        found["terms"].append(terms_of(sr, hr, variances))
        found["sr"].append(sr[0][-1].half())
        found["lpips"].append(lpips(sr[0], hr[0]))
        found["dists"].append(dists(sr[0], hr[0]))
    return {name: torch.cat(values).numpy() for name, values in found.items()} | {"hr": hr[0][-1].half().numpy()}
