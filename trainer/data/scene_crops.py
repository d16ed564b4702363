"""Random crops out of a pool, as a network reads and should write them.

Axes: T frames in a row, N batch, H rows and W columns of small luma. x (T, N, 5, H, W) and y (T, N, s * s + 2, H, W) as
trainer.nets.luma_chroma says, in [0, 1].
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from streamsr_kernels import Filter
from torch import Tensor

from trainer.data.as_found import MAX_BLUR
from trainer.data.crops import oriented
from trainer.data.scene_pool import CLEAN, Scene
from trainer.data.scenes import NUM_FRAMES
from trainer.data.yuv_planes import REACH, Site, rounded, to_luma_grid
from trainer.trainer_error import TrainerError

# standard deviations of what a network is told wrongly: an estimate of a source is no better, and people set what they like
BLUR_ERROR, DAMAGE_ERROR = 0.25 / MAX_BLUR, 0.06
ESTIMATED_SHARE = 0.5  # of crops that are told the estimate, where there is one


class Batches:
    """Draws training batches of runs of `frames` frames; `rng` is all there is to checkpoint."""

    def __init__(
        self, scenes: list[Scene], *, scale: int, batch: int, crop: int, seed: int, chroma_filter: Filter, frames: int = 1
    ) -> None:
        self.scenes, self.scale, self.batch, self.crop, self.frames = scenes, scale, batch, crop, frames
        self.chroma_filter: Filter = chroma_filter
        shortest = min(scene.ly.shape[1] for scene in scenes)
        if frames > 1 and shortest < max(frames, NUM_FRAMES):
            raise TrainerError(f"Runs of {frames} frames cannot be drawn from scenes of {shortest}. Prepare a pool of runs.")
        self.rng = np.random.default_rng(seed)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and which of them are found clean (N,), of places, orientations, levels and, of runs, directions of time at random."""
        xs, ys, is_clean = zip(*(self._one() for _ in range(self.batch)), strict=True)
        return torch.from_numpy(np.stack(xs, 1)), torch.from_numpy(np.stack(ys, 1)), torch.tensor(is_clean)

    def _one(self) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
        rng, crop = self.rng, self.crop
        scene = self.scenes[int(rng.integers(len(self.scenes)))]
        way, first = int(rng.integers(len(scene.ly))), int(rng.integers(scene.ly.shape[1] - self.frames + 1))
        order = range(first, first + self.frames)
        if self.frames > 1 and rng.random() < 0.5:
            order = order[::-1]
        height, width = scene.ly.shape[2:]
        top, left = (2 * int(rng.integers((size - crop) // 2 + 1)) for size in (height, width))
        turn, full, told = int(rng.integers(8)), rng.random() < 0.25, self._told(scene, way)
        pairs = []
        for frame in order:
            x, y = cut(scene, way, frame, self.scale, top, left, crop, self.chroma_filter)
            x, y = turned(x, turn), turned_phases(y, turn, self.scale)
            if full:
                _to_full_range(x[:3])
                _to_full_range(y, num_chroma=2)
            x[3], x[4] = told
            pairs.append((x, y))
        x, y = (np.stack(side) for side in zip(*pairs, strict=True))
        return x, y, way == CLEAN

    def _told(self, scene: Scene, way: int) -> NDArray[np.float32]:
        """The true condition, more or less, or what the estimator takes for it."""
        rng = self.rng
        if scene.estimated is not None and rng.random() < ESTIMATED_SHARE:
            return scene.estimated[way]
        true = scene.condition[way]
        errors = rng.normal(0, (BLUR_ERROR, DAMAGE_ERROR)) * [value > 0 or rng.random() < 0.5 for value in true]
        return np.clip(true + errors, 0, 1).astype(np.float32)


def cut(
    scene: Scene, way: int, frame: int, scale: int, top: int, left: int, crop: int, chroma_filter: Filter
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(x (5, H, W), y (s * s + 2, H, W)) of one square of `crop` small pixels; top, left and crop are even."""
    rows, columns = slice(top, top + crop), slice(left, left + crop)
    margin_top, margin_left = min(top // 2, REACH), min(left // 2, REACH)
    sides = ((first // 2 - margin, (first + crop) // 2 + REACH) for first, margin in ((top, margin_top), (left, margin_left)))
    some = scene.lc[way, frame][(slice(None), *(slice(*side) for side in sides))]
    chroma = rounded(to_luma_grid(some, scene.site, scale, chroma_filter))
    chroma = chroma[:, 2 * margin_top : 2 * margin_top + crop, 2 * margin_left : 2 * margin_left + crop]
    x = np.empty((5, crop, crop), np.float32)
    x[0], x[1:3] = scene.ly[way, frame][rows, columns], chroma
    x[:3] /= 255
    x[3], x[4] = scene.condition[way]
    high = scene.hy[frame][scale * top : scale * (top + crop), scale * left : scale * (left + crop)]
    phases = high.reshape(crop, scale, crop, scale).transpose(1, 3, 0, 2).reshape(scale * scale, crop, crop)
    y = np.concatenate([phases, _target_chroma(scene, frame, scale, top, left, crop)]).astype(np.float32)
    return x, y / np.float32(255)


def _target_chroma(scene: Scene, frame: int, scale: int, top: int, left: int, crop: int) -> NDArray:
    """At x2 the target's own samples; at other scales the target's chroma at the places of the input's luma."""
    rows, columns = slice(top, top + crop), slice(left, left + crop)
    if scale == 2:
        return scene.hc[frame][:, rows, columns]
    height, width = scene.ly.shape[2:]
    return np.stack([on_luma_grid(plane, scene.site, scale, (height, width))[rows, columns] for plane in scene.hc[frame]])


def on_luma_grid(plane: NDArray, site: Site, scale: int, size: tuple[int, int]) -> NDArray:
    """Chroma of a 4:2:0 target `scale` times as large as `size` (rows, columns) -> its samples at the small picture's luma places."""
    # the middle of small pixel k lies at ((k + 1/2) scale - 1/2 - place) / 2 of the target's chroma samples
    top, left = (1.25 - place / 2 for place in site)  # one sample of padding
    box = (left, top, left + size[1] * scale / 2, top + size[0] * scale / 2)
    padded = Image.fromarray(np.pad(plane, 1, mode="edge"))
    return np.asarray(padded.resize((size[1], size[0]), Image.Resampling.BICUBIC, box=box))


def turned(x_CHW: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """One of the eight flips and transposes of every plane."""
    return np.stack([oriented(plane, turn) for plane in x_CHW])


def turned_phases(y_CHW: NDArray[np.float32], turn: int, scale: int) -> NDArray[np.float32]:
    """The same of luma phases and chroma: phases change places, too."""
    crop = y_CHW.shape[1]
    high = y_CHW[: scale * scale].reshape(scale, scale, crop, crop).transpose(2, 0, 3, 1).reshape(scale * crop, scale * crop)
    high = oriented(high, turn)
    phases = high.reshape(crop, scale, crop, scale).transpose(1, 3, 0, 2).reshape(scale * scale, crop, crop)
    return np.concatenate([phases, turned(y_CHW[scale * scale :], turn)])


def _to_full_range(planes_CHW: NDArray[np.float32], *, num_chroma: int = 2) -> None:
    luma, chroma = planes_CHW[:-num_chroma], planes_CHW[-num_chroma:]
    np.clip((luma - 16 / 255) * (255 / 219), 0, 1, out=luma)
    np.clip((chroma - 128 / 255) * (255 / 224) + 128 / 255, 0, 1, out=chroma)
