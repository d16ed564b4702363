"""RGB pairs, for one question: does a network gain from seeing colour? Both sides of the comparison draw the same crops from here.

A cached plane holds red, green and blue below each other. The sampler gives RGB crops, or their luma. Axes: N, 3 or 1, H, W.
"""

import pathlib

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainer.data.crops import Sampler, oriented
from trainer.data.degrade import crop_to_multiple
from trainer.data.footage import read_still
from trainer.data.pair_cache import Pair, PairCache
from trainer.data.pair_pool import Pool
from trainer.data.photos import Plane
from trainer.trainer_error import TrainerError

_LUMA = (65.481, 128.553, 24.966)  # BT.601 in codes of 255: source as trainer.data.photos.luma_of


def colour_pairs(path: pathlib.Path, seed: int, scale: int) -> list[Pair]:
    """One photograph, whole, through Pillow's bicubic: red, green and blue planes below each other."""
    rgb = crop_to_multiple(read_still(path, seed), 2 * scale)
    size = (rgb.shape[1] // scale, rgb.shape[0] // scale)
    small = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    return [(_tall(rgb), [_tall(small)])]


def luma_of_unit(x_NCHW: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] -> studio luma (N, 1, H, W) in [0, 1] of its codes; luma stays as it is."""
    if x_NCHW.shape[1] == 1:
        return x_NCHW
    weights = x_NCHW.new_tensor(_LUMA).view(1, 3, 1, 1) / 255
    return (x_NCHW * weights).sum(1, keepdim=True) + 16 / 255


class ColourSampler(Sampler):
    """As CropSampler, from a cache of `colour_pairs`. planes: 3 gives RGB, 1 the luma of the same crops."""

    def __init__(self, cache: PairCache | Pool, *, crop: int, batch: int, planes: int, seed: int) -> None:
        super().__init__(cache, seed)
        self.crop, self.batch, self.planes = crop, batch, planes
        self.renew()

    def renew(self) -> None:
        self.usable = [i for i, p in enumerate(self.cache.pairs) if min(p["height"] // 3, p["width"]) >= self.crop]
        if not self.usable:
            raise TrainerError(f"No training picture is as large as the crop of {self.crop} low-resolution pixels. Lower --crop.")

    def draw(self) -> tuple[Tensor, Tensor]:
        """(lr (N, planes, crop, crop), hr (N, planes, scale * crop, scale * crop)), float32 in [0, 1]."""
        self.advance()
        s, c = self.cache.scale, self.crop
        crops = []
        for _ in range(self.batch):
            index = self.usable[int(self.rng.integers(len(self.usable)))]
            pair = self.cache.pairs[index]
            y, x = (int(self.rng.integers(n - c + 1)) for n in (pair["height"] // 3, pair["width"]))
            turn = int(self.rng.integers(8))
            crops.append((_cut(self.cache.lr(index, 0), y, x, c, turn), _cut(self.cache.hr(index), s * y, s * x, s * c, turn)))
        lr, hr = (torch.from_numpy(np.stack(side)).float().div_(255) for side in zip(*crops, strict=True))
        return (lr, hr) if self.planes == 3 else (luma_of_unit(lr), luma_of_unit(hr))


def fixed_colour_crops(cache: PairCache, *, crop: int, limit: int, planes: int) -> list[tuple[Tensor, Tensor]]:
    """The middle of pictures, spread evenly: (lr, hr), (1, planes, H, W) each; the same in every run."""
    found, s = [], cache.scale
    step = max(1, len(cache.pairs) // limit)
    for index in range(0, len(cache.pairs), step)[:limit]:
        pair = cache.pairs[index]
        height, width = pair["height"] // 3, pair["width"]
        side = min(crop, height, width)
        y, x = (height - side) // 2, (width - side) // 2
        both = (_cut(cache.lr(index, 0), y, x, side, 0), _cut(cache.hr(index), s * y, s * x, s * side, 0))
        lr, hr = (torch.from_numpy(part[None]).float().div_(255) for part in both)
        found.append((lr, hr) if planes == 3 else (luma_of_unit(lr), luma_of_unit(hr)))
    return found


def _tall(rgb: Plane) -> Plane:
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)).reshape(-1, rgb.shape[1])


def _cut(tall: Plane, y: int, x: int, side: int, turn: int) -> np.ndarray:
    planes = tall.reshape(3, -1, tall.shape[1])[:, y : y + side, x : x + side]
    return np.stack([oriented(plane, turn) for plane in planes])
