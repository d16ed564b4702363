"""Random runs of frames out of a cache of sequences, and the fixed ones that validation looks at. Axes: T frames, N, 1, H, W."""

import numpy as np
import torch
from torch import Tensor

from trainer.data.codec import NUM_FRAMES
from trainer.data.crops import Sampler, oriented
from trainer.data.pair_cache import PairCache
from trainer.data.pair_pool import Pool
from trainer.trainer_error import TrainerError

CUT_SHARE = 0.05  # of the sequences change to another one half way: a cut that the runtime missed


class SequenceSampler(Sampler):
    """Runs of frames."""

    def __init__(self, cache: PairCache | Pool, *, frames: int, crop: int, batch: int, seed: int) -> None:
        super().__init__(cache, seed)
        self.frames, self.crop, self.batch = frames, crop, batch
        if not 1 <= frames <= NUM_FRAMES:
            raise TrainerError(f"A run of {frames} frames cannot be drawn: sequences have {NUM_FRAMES}.")
        if not cache.pairs:
            raise TrainerError("The cache holds no sequence: every photograph was too small or not readable.")
        side = min(cache.pairs[0]["width"], cache.pairs[0]["height"] // NUM_FRAMES)
        if crop > side:
            raise TrainerError(f"A crop of {crop} low-resolution pixels does not fit into sequences of {side}. Lower --crop.")

    def draw(self) -> tuple[Tensor, Tensor]:
        """(lr (T, N, 1, crop, crop), hr (T, N, 1, scale * crop, scale * crop)), float32 in [0, 1]."""
        self.advance()
        runs = [self._draw_run() for _ in range(self.batch)]
        lr, hr = (torch.stack([run[i] for run in runs], 1).unsqueeze(2) for i in range(2))
        return lr, hr

    def _draw_run(self) -> tuple[Tensor, Tensor]:
        """One run (T, H, W) of source and target."""
        lr, hr = self._take()
        if self.frames > 1 and self.rng.random() < CUT_SHARE:
            at = int(self.rng.integers(1, self.frames))
            for run, other in zip((lr, hr), self._take(), strict=True):
                run[at:] = other[at:]
        if self.rng.random() < 0.25:  # full range, as CropSampler has it
            for run in (lr, hr):
                run.mul_(255 / 219).sub_(16 / 219).clamp_(0, 1)
        return lr, hr

    def _take(self) -> tuple[Tensor, Tensor]:
        s, c = self.cache.scale, self.crop
        index = int(self.rng.integers(len(self.cache.pairs)))
        lr_THW, hr_THW = sequence(self.cache, index, int(self.rng.integers(len(self.cache.pairs[index]["lr"]))))
        t, y, x = (int(self.rng.integers(room + 1)) for room in (len(lr_THW) - self.frames, lr_THW.shape[1] - c, lr_THW.shape[2] - c))
        turn = int(self.rng.integers(8))
        lr = np.stack([oriented(frame, turn) for frame in lr_THW[t : t + self.frames, y : y + c, x : x + c]])
        hr = np.stack([oriented(frame, turn) for frame in hr_THW[t : t + self.frames, s * y : s * (y + c), s * x : s * (x + c)]])
        return torch.from_numpy(lr).float().div_(255), torch.from_numpy(hr).float().div_(255)


def sequence(cache: PairCache | Pool, index: int, version: int) -> tuple[np.ndarray, np.ndarray]:
    """(source (T, h, w), target (T, scale * h, scale * w)), uint8, out of the tall planes that the cache keeps."""
    lr, hr = cache.lr(index, version), cache.hr(index)
    return (plane.reshape(NUM_FRAMES, plane.shape[0] // NUM_FRAMES, plane.shape[1]) for plane in (lr, hr))  # type: ignore[return-value]


def fixed_sequences(cache: PairCache, *, crop: int, limit: int) -> list[tuple[Tensor, Tensor]]:
    """The middle of sequences and versions, at most `limit`, spread evenly: (lr (T, 1, 1, h, w), hr) each."""
    s = cache.scale
    places = [(i, v) for i, pair in enumerate(cache.pairs) for v in dict(zip(pair["lr"], range(len(pair["lr"])), strict=True)).values()]
    found = []
    for index, version in places[:: max(1, len(places) // limit)][:limit]:
        lr, hr = sequence(cache, index, version)
        h, w = min(crop, lr.shape[1]), min(crop, lr.shape[2])
        y, x = (lr.shape[1] - h) // 2, (lr.shape[2] - w) // 2
        parts = lr[:, y : y + h, x : x + w], hr[:, s * y : s * (y + h), s * x : s * (x + w)]
        found.append(tuple(torch.from_numpy(np.array(part))[:, None, None].float().div_(255) for part in parts))
    return found  # type: ignore[return-value]
