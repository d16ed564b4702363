"""From a sharp scene to the small video that people have of it, and what was done to it in two numbers.

Note [Condition]
    A network cannot tell what was blurred from what is meant to be soft, nor detail from grain, so it is told both. `blur` is the
    standard deviation of the blur in halves of a small pixel, which are pixels of the target at x2 (for a Gaussian that is not round the
    geometric mean; a second-hand resize counts as the blur of its loss). `damage` is the root mean square of what noise and compression
    changed in the small luma, in codes.
    `told` brings both to [0, 1]. Source of the idea: Zhang et al., SRMD, arXiv:1712.06116.
"""

from dataclasses import dataclass

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainer.data.round_trip import Pictures, draw_encoder, round_trip
from trainer.data.yuv_planes import SITES, Plane, Site, rounded, subsample, to_yuv444

MAX_BLUR = 2.0  # halves of a small pixel
KERNELS = ("sws_bicubic", "bicubic", "box", "lanczos", "bilinear")
KERNEL_SHARES = (0.45, 0.2, 0.1, 0.15, 0.1)
_PILLOW = {
    "bicubic": Image.Resampling.BICUBIC, "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR,
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One way in which a scene was found."""

    pictures: Pictures  # small luma and chroma, a pair a frame
    blur: float  # Note [Condition]
    damage: float


def told(blur: float, damage: float) -> tuple[float, float]:
    """The two numbers of Note [Condition] as a network is told them."""
    return min(blur / MAX_BLUR, 1.0), min(float(np.log2(1 + damage)) / 4, 1.0)


def targets(frames: list[Plane], site: Site) -> Pictures:
    """The scene itself as 8-bit 4:2:0."""
    whole = [to_yuv444(frame) for frame in frames]
    return [(rounded(yuv[0]), rounded(subsample(yuv[1:], site))) for yuv in whole]


def draw_site(rng: np.random.Generator) -> Site:
    """Left, as H.264 and MPEG-2 have it, most often."""
    return SITES[int(rng.choice(3, p=[0.7, 0.2, 0.1]))]


def degrade(frames: list[Plane], scale: int, site: Site, rng: np.random.Generator, *, clean: bool = False) -> Found:
    """RGB frames of SIDE pixels -> `Found`. clean: FFmpeg's bicubic and nothing else."""
    scene = np.stack([to_yuv444(frame) for frame in frames])
    blur = 0.0
    if not clean and rng.random() < 0.7:
        kernel, blur = draw_blur(rng, scale / 2)
        scene = _filtered(scene, kernel)
    side = scene.shape[-1] // scale // 2 * 2
    kernel_name = "sws_bicubic" if clean else str(rng.choice(KERNELS, p=KERNEL_SHARES))
    second_hand = not clean and rng.random() < 0.2
    if second_hand:
        factor = rng.uniform(0.6, 0.9)
        between = int(side * factor) // 2 * 2
        small = _resized(_resized(rounded(scene), between, kernel_name), side, str(rng.choice(["bicubic", "bilinear"])))
        blur = float(np.hypot(blur, 0.9 * np.sqrt(factor**-2 - 1)))
    else:
        small = _resized(rounded(scene), side, kernel_name)
    found = small.astype(np.float32)
    if not clean and rng.random() < 0.4:
        found = found + _noise(found.shape, rng)
    pictures: Pictures = [(rounded(yuv[0]), rounded(subsample(yuv[1:], site))) for yuv in found]
    if not clean and rng.random() < 0.75:
        for _ in range(2 if rng.random() < 0.2 else 1):
            pictures = round_trip(pictures, *draw_encoder(rng))
    change = np.stack([luma for luma, _ in pictures]).astype(np.float32) - small[:, 0]
    return Found(pictures, blur, float(np.sqrt(np.mean(change**2))))


def draw_blur(rng: np.random.Generator, unit: float) -> tuple[NDArray, float]:
    """A kernel that sums to 1, and its `blur` in units: a Gaussian that need not be round, a disc (out of focus), a short line (motion).

    unit: halves of a small pixel, in pixels of the target.
    """
    kind, turn = rng.random(), rng.uniform(0, np.pi)
    reach = round(7 * unit)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    if kind < 0.75:
        wide = rng.uniform(0.25, 1.0) if rng.random() < 0.5 else rng.uniform(0.8, MAX_BLUR)
        narrow = max(wide * rng.uniform(0.65, 1.0), 0.2)
        kernel = np.exp(-0.5 * ((along / (wide * unit)) ** 2 + (across / (narrow * unit)) ** 2))
    elif kind < 0.9:
        radius = rng.uniform(0.8, 3.6) * unit
        kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    else:
        length = rng.uniform(1.5, 6.0) * unit
        kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.exp(-0.5 * (across / 0.4) ** 2)
    kernel /= kernel.sum()
    spread = np.array([[(kernel * a * b).sum() for b in (y, x)] for a in (y, x)])
    return kernel.astype(np.float32), float(max(np.linalg.det(spread), 0.0) ** 0.25) / unit


def _filtered(scene_TCHW: NDArray, kernel: NDArray) -> NDArray:
    margin = kernel.shape[0] // 2
    x = torch.from_numpy(scene_TCHW).flatten(0, 1).unsqueeze(1)
    x = torch.nn.functional.pad(x, [margin] * 4, mode="reflect")
    y = torch.nn.functional.conv2d(x, torch.from_numpy(kernel)[None, None])
    return y.view(scene_TCHW.shape).numpy()


def _resized(scene_TCHW: Plane, side: int, kernel: str) -> Plane:
    """Every plane to side x side, pixel centres on pixel centres."""
    small = np.empty((*scene_TCHW.shape[:2], side, side), np.uint8)
    for plane, result in zip(scene_TCHW.reshape(-1, *scene_TCHW.shape[2:]), small.reshape(-1, side, side), strict=True):
        if kernel == "sws_bicubic":
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(plane), format="gray")
            result[:] = frame.reformat(width=side, height=side, interpolation="BICUBIC").to_ndarray()
        else:
            result[:] = np.asarray(Image.fromarray(plane).resize((side, side), _PILLOW[kernel]))
    return small


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray:
    """Sensor noise, or film grain (coarser, the same in all three planes but weaker in chroma)."""
    strength = float(np.exp(rng.uniform(np.log(0.7), np.log(8))))
    noise: NDArray = rng.normal(0, 1, shape).astype(np.float32)
    if rng.random() < 0.3:
        noise = (noise + np.roll(noise, 1, -1) + np.roll(noise, 1, -2) + np.roll(noise, (1, 1), (-2, -1))) / 2
    noise[:, 1:] = 0.5 * noise[:, 1:] + 0.3 * noise[:, :1]
    return strength * noise
