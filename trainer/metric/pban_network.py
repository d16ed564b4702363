"""Efficient-PBAN: looks at a result and its original in both directions and predicts what people would say.

encoder (shared) -> Q, K, V a stream -> deformable queries -> attention both ways -> excitation -> residual -> merge -> head.
Source: Zhou et al., arXiv:2602.21482, and arXiv:2509.06442, written anew from their description. Axes: N, C, H, W.

Note [Behaviour]
    "paper" keeps what the authors' release does: logits divided by the standard deviation of the whole batch, softmax over the axis that
    is not summed, both pictures squeezed to 512 x 512 and normalised with ImageNet's constants divided by eight, an unbounded score.
    "fixed" divides by sqrt(C), normalises over the summed axis, looks at native size, and its score lies in (0, 1), higher is better.
"""

import pathlib

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.metric.bidirectional_attention import Behaviour, attend_both
from trainer.metric.deformable import MultiScaleDeformConv
from trainer.metric.encoder import IMAGENET_MEAN, IMAGENET_STD, EncoderName, Weights, open_encoder
from trainer.metric.excitation import Excitation

MIN_SIDE = 96  # pixels: three positions of the merged features
PAPER_SIDE = 512


class Stream(nn.Module):
    """What one of the two streams owns: projections, deformable queries, excitation, merge and its part of the head."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.deform = MultiScaleDeformConv(channels)
        self.excite = Excitation(channels)
        self.merge = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * channels), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Linear(2 * channels, 128), nn.ReLU(), nn.Dropout(dropout))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.deform(self.query(x)), self.key(x), self.value(x)

    def finish(self, attended: Tensor, own: Tensor) -> Tensor:
        """(N, positions, 128)."""
        x = self.merge(self.excite(attended) + own)
        x = functional.avg_pool2d(x, 2, ceil_mode=True)
        return self.head(x.flatten(2).transpose(1, 2))


class EfficientPban(nn.Module):
    """(sr, hr), RGB (N, 3, H, W) in [0, 1], sides of 96 or more -> score (N,).

    "fixed" scores lie in (0, 1), "paper" scores anywhere (Note [Behaviour]); higher is better. The head judges every position; their mean
    counts, so any size gives one score.
    """

    def __init__(
        self,
        *,
        behaviour: Behaviour = "fixed",
        encoder: EncoderName = "efficientnet_lite0",
        encoder_weights: Weights | pathlib.Path = "pretrained",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if behaviour not in ("fixed", "paper"):
            raise ValueError(f"behaviour is 'fixed' or 'paper', not {behaviour!r}.")
        self.behaviour: Behaviour = behaviour
        self.encoder = open_encoder(encoder, encoder_weights)
        self.encoder.freeze(whole=False)
        channels = self.encoder.channels[-1]
        self.streams = nn.ModuleList(Stream(channels, dropout) for _ in range(2))
        self.judge = nn.Linear(2 * 128, 1)

    def prepare(self, rgb_NCHW: Tensor) -> Tensor:
        """Normalised pictures, as the behaviour asks. Raises ValueError for wrong shapes."""
        if rgb_NCHW.ndim != 4 or rgb_NCHW.shape[1] != 3:
            raise ValueError(f"Pictures are (N, 3, H, W); these are {tuple(rgb_NCHW.shape)}.")
        if min(rgb_NCHW.shape[-2:]) < MIN_SIDE:
            raise ValueError(f"Pictures need {MIN_SIDE} pixels a side; these have {tuple(rgb_NCHW.shape[-2:])}.")
        if self.behaviour == "fixed":
            return self.encoder.normalised(rgb_NCHW)
        squeezed = functional.interpolate(rgb_NCHW, (PAPER_SIDE, PAPER_SIDE), mode="bilinear", align_corners=False)
        mean, std = (rgb_NCHW.new_tensor(c).view(1, 3, 1, 1) / 8 for c in (IMAGENET_MEAN, IMAGENET_STD))
        return (squeezed - mean) / std

    def features(self, rgb_NCHW: Tensor) -> list[Tensor]:
        """The encoder's stages, finest first."""
        return self.encoder.stages(self.prepare(rgb_NCHW))

    def impression(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        """The last stage of both pictures, (N, C, H / 16, W / 16) each -> what the head sees of them, (N, 256): the mean over positions."""
        own = (sr_NCHW, hr_NCHW)
        (q1, k1, v1), (q2, k2, v2) = (stream.project(x) for stream, x in zip(self.streams, own, strict=True))  # type: ignore[operator]
        attended = attend_both(q1, k1, v1, q2, k2, v2, behaviour=self.behaviour)
        parts = [stream.finish(a, x) for stream, a, x in zip(self.streams, attended, own, strict=True)]  # type: ignore[operator]
        return torch.cat(parts, -1).mean(1)

    def opinion(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        """The last stage of both pictures -> an unbounded opinion (N,). The judge is linear: the mean of opinions is that of the mean."""
        return self.judge(self.impression(sr_NCHW, hr_NCHW)).squeeze(1)

    def forward(self, sr_NCHW: Tensor, hr_NCHW: Tensor) -> Tensor:
        if sr_NCHW.shape != hr_NCHW.shape:
            raise ValueError(f"Result and original differ in shape: {tuple(sr_NCHW.shape)} and {tuple(hr_NCHW.shape)}.")
        opinion = self.opinion(self.features(sr_NCHW)[-1], self.features(hr_NCHW)[-1])
        return torch.sigmoid(opinion) if self.behaviour == "fixed" else opinion
