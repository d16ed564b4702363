"""What people would see of a network of luma and chroma, as a loss: Efficient-PBAN on whole RGB crops.

Note [Views]
    A metric is looked at from another side in every step: both pictures are shifted by up to 15 pixels of the stride that the encoder has,
    mirrored, or shown a little smaller. The score of a good picture hardly changes; a pattern that fools the metric from one side seldom
    does from all. The views cost nothing beside the metric.

Axes: N, C, H, W; the network's output as trainer.nets.luma_chroma says.
"""

import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.yuv_planes import RGB_OF_YUV
from trainer.nets.luma_chroma import split

# (result, original), RGB (N, 3, H, W) in [0, 1] -> score (N,) in (0, 1], higher is better
Score = Callable[[Tensor, Tensor], Tensor]
SIDE = 128  # pixels of the result's crops, at least
MAX_SHIFT = 16  # pixels: the encoder's stride
LEAST_SIDE = 112  # of a view: 96 is what the metric needs


def rgb_of(made_NCHW: Tensor, scale: int) -> Tensor:
    """Luma phases and chroma in [0, 1] of limited-range BT.709 codes -> RGB (N, 3, s H, s W), not clipped: a clipped pixel has no slope."""
    luma, chroma = split(made_NCHW, scale)
    y = (luma - 16 / 255) * (255 / 219)
    c = (functional.interpolate(chroma, scale_factor=scale, mode="bilinear", align_corners=False) - 128 / 255) * (255 / 224)
    matrix = torch.from_numpy(RGB_OF_YUV).to(made_NCHW)
    return torch.einsum("rp,nphw->nrhw", matrix, torch.cat([y, c], 1))


def viewed(pictures: tuple[Tensor, ...], rng: random.Random) -> tuple[Tensor, ...]:
    """The same view of all pictures, Note [Views]."""
    height, width = pictures[0].shape[-2:]
    top, left = (rng.randrange(max(1, min(MAX_SHIFT, size - LEAST_SIDE + 1))) for size in (height, width))
    flip, turn = rng.random() < 0.5, rng.random() < 0.5
    size = rng.choice((1.0, 1.0, 0.875, 0.75)) if min(height, width) >= 160 else 1.0
    out = []
    for picture in pictures:
        x = picture[..., top:, left:]
        x = x.flip(-1) if flip else x
        x = x.transpose(-1, -2) if turn else x
        out.append(x if size == 1.0 else functional.interpolate(x, scale_factor=size, mode="bilinear", antialias=True))
    return tuple(out)


def picture_loss(score: Score, made: Tensor, target: Tensor, scale: int, rng: random.Random) -> Tensor:
    """1 - score of a random view, the mean of the batch."""
    sr, hr = viewed((rgb_of(made, scale), rgb_of(target, scale)), rng)
    return 1 - score(sr.contiguous(), hr.contiguous()).mean()
