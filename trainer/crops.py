"""Random crops out of a pair cache, and the fixed ones that validation looks at."""

import numpy as np
import torch
from torch import Tensor

from trainer.cache import PairCache
from trainer.errors import TrainerError


class CropSampler:
    """Draws batches from one NumPy generator; the state of that generator is all there is to checkpoint."""

    def __init__(self, cache: PairCache, *, crop: int, batch: int, seed: int) -> None:
        self.cache, self.crop, self.batch = cache, crop, batch
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.usable = [i for i, p in enumerate(cache.pairs) if min(p["height"], p["width"]) >= crop]
        if not self.usable:
            raise TrainerError(
                f"No training picture is as large as the crop of {crop} low-resolution pixels. Lower --crop or add larger ones."
            )
        areas = np.array([cache.pairs[i]["height"] * cache.pairs[i]["width"] for i in self.usable], np.float64)
        self.cumulative = np.cumsum(areas / areas.sum())

    def draw(self) -> tuple[Tensor, Tensor]:
        """(lr (1, N, 1, crop, crop), hr (1, N, 1, scale * crop, scale * crop)): runs of one frame, float32 in [0, 1], places and
        orientations at random."""
        s, c = self.cache.scale, self.crop
        lr_NHW = np.empty((self.batch, c, c), np.uint8)
        hr_NHW = np.empty((self.batch, s * c, s * c), np.uint8)
        for n in range(self.batch):
            place = min(int(np.searchsorted(self.cumulative, self.rng.random())), len(self.usable) - 1)
            index = self.usable[place]
            pair = self.cache.pairs[index]
            version = int(self.rng.integers(len(pair["lr"])))
            y = int(self.rng.integers(pair["height"] - c + 1))
            x = int(self.rng.integers(pair["width"] - c + 1))
            turn = int(self.rng.integers(8))
            lr = self.cache.lr(index, version)[y : y + c, x : x + c]
            hr = self.cache.hr(index)[s * y : s * (y + c), s * x : s * (x + c)]
            lr_NHW[n], hr_NHW[n] = oriented(lr, turn), oriented(hr, turn)
        lr_NCHW, hr_NCHW = to_unit(lr_NHW), to_unit(hr_NHW)
        for n in range(self.batch):
            self._vary_levels(lr_NCHW[n, 0], hr_NCHW[n, 0])
        return lr_NCHW[None], hr_NCHW[None]

    def _vary_levels(self, lr: Tensor, hr: Tensor) -> None:
        """In place: a quarter in full range, and a few with a black bar. Without them, code 0 is taken for the outside of the picture."""
        full_range = self.rng.random() < 0.25
        if full_range:
            for plane in (lr, hr):
                plane.mul_(255 / 219).sub_(16 / 219).clamp_(0, 1)
        if self.rng.random() < 0.06:
            width, side = int(self.rng.integers(1, self.crop // 3)), int(self.rng.integers(4))
            black = 0.0 if full_range or self.rng.random() < 0.5 else 16 / 255
            for plane, bar in ((lr, width), (hr, width * self.cache.scale)):
                view = plane.T if side & 1 else plane
                (view[:bar] if side & 2 else view[-bar:]).fill_(black)


def oriented(plane: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight flips and transposes."""
    if turn & 1:
        plane = plane[::-1]
    if turn & 2:
        plane = plane[:, ::-1]
    return plane.T if turn & 4 else plane


def to_unit(planes_NHW: np.ndarray) -> Tensor:
    """uint8 (N, H, W) -> float32 (N, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(planes_NHW)).unsqueeze(1).float().div_(255)


def fixed_crops(cache: PairCache, *, crop: int, limit: int) -> list[tuple[Tensor, Tensor]]:
    """The middle of every picture and version, at most `limit`, spread evenly: the same crops in every run."""
    s = cache.scale
    places = [(i, v) for i, p in enumerate(cache.pairs) for v in range(len(p["lr"]))]
    step = max(1, len(places) // limit)
    crops = []
    for index, version in places[::step][:limit]:
        pair = cache.pairs[index]
        h, w = min(crop, pair["height"]), min(crop, pair["width"])
        y, x = (pair["height"] - h) // 2, (pair["width"] - w) // 2
        lr = cache.lr(index, version)[y : y + h, x : x + w]
        hr = cache.hr(index)[s * y : s * (y + h), s * x : s * (x + w)]
        crops.append((to_unit(lr[None]), to_unit(hr[None])))
    return crops
