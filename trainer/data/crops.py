"""Random crops out of a pair cache, and the fixed ones that validation looks at."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.pair_cache import PairCache
from trainer.data.pair_pool import Pool
from trainer.trainer_error import TrainerError


class Sampler:
    """What draws batches: one NumPy generator, and the place in the stream where pairs are streamed, are all there is to checkpoint."""

    def __init__(self, source: PairCache | Pool, seed: int) -> None:
        self.cache = source
        self.rng = np.random.Generator(np.random.PCG64(seed))

    def draw(self) -> tuple[Tensor, Tensor]:
        """(lr, hr), (N, planes, H, W) each, float32 in [0, 1]."""
        raise NotImplementedError

    def state(self) -> Any:
        own = self.rng.bit_generator.state
        return {"rng": own, "batches": self.cache.batches} if isinstance(self.cache, Pool) else own

    def restore(self, state: Any) -> None:
        """Go on from a `state`. Raises TrainerError where it is one of another kind of loader."""
        if isinstance(self.cache, Pool) != ("batches" in state):
            raise TrainerError("The checkpoint was written with another --loader, and only that one can go on from it.")
        self.rng.bit_generator.state = state.get("rng", state)
        if isinstance(self.cache, Pool):
            self.cache.restore(state["batches"])
            self.renew()

    def renew(self) -> None:
        """Take note of exchanged pairs."""

    def advance(self) -> None:
        """Before each batch."""
        if isinstance(self.cache, Pool) and self.cache.advance():
            self.renew()


class CropSampler(Sampler):
    """Single pictures, places and orientations at random."""

    def __init__(self, cache: PairCache | Pool, *, crop: int, batch: int, seed: int) -> None:
        super().__init__(cache, seed)
        self.crop, self.batch = crop, batch
        self.renew()

    def renew(self) -> None:
        cache, crop = self.cache, self.crop
        self.usable = [i for i, p in enumerate(cache.pairs) if min(p["height"], p["width"]) >= crop]
        if not self.usable:
            raise TrainerError(
                f"No training picture is as large as the crop of {crop} low-resolution pixels. Lower --crop or add larger ones."
            )
        areas = np.array([cache.pairs[i]["height"] * cache.pairs[i]["width"] for i in self.usable], np.float64)
        self.cumulative = np.cumsum(areas / areas.sum())

    def draw(self) -> tuple[Tensor, Tensor]:
        """(lr (N, 1, crop, crop), hr (N, 1, scale * crop, scale * crop)), float32 in [0, 1]."""
        self.advance()
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
            vary_levels(lr_NCHW[n, 0], hr_NCHW[n, 0], self.rng)
        return lr_NCHW, hr_NCHW


def vary_levels(lr: Tensor, hr: Tensor, rng: np.random.Generator) -> None:
    """In place: a quarter in full range, and a few with a black bar. Without them, code 0 is taken for the outside of the picture."""
    full_range = rng.random() < 0.25
    if full_range:
        for plane in (lr, hr):
            plane.mul_(255 / 219).sub_(16 / 219).clamp_(0, 1)
    if rng.random() < 0.06:
        width, side = int(rng.integers(1, lr.shape[-1] // 3)), int(rng.integers(4))
        black = 0.0 if full_range or rng.random() < 0.5 else 16 / 255
        for plane, bar in ((lr, width), (hr, width * hr.shape[-1] // lr.shape[-1])):
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
