"""Sub-information excitation: which channels and which pixels count. Axes: N, C, H, W."""

import torch
from torch import Tensor, nn


class ChannelExcitation(nn.Module):
    """Global average -> 1x1 to 3 C (4 groups) -> tanh -> a learned 3x3 mix of the three parts -> 1x1 to C -> sigmoid: (N, C, 1, 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.split = nn.Conv2d(channels, 3 * channels, 1, groups=4)
        self.mix = nn.Linear(3, 3)
        self.merge = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.tanh(self.split(x.mean((2, 3), keepdim=True))).view(-1, 3, self.channels)
        mixed = self.mix(parts.transpose(1, 2)).transpose(1, 2)
        return torch.sigmoid(self.merge(mixed.reshape(-1, 3 * self.channels, 1, 1)))


class PixelExcitation(nn.Module):
    """3x3 to 32 -> tanh -> 3x3 to 9 -> shuffle by 3 -> tanh -> 3x3 with stride 3 -> sigmoid: (N, 1, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, 32, 3, padding=1)
        self.split = nn.Conv2d(32, 9, 3, padding=1)
        self.shuffle = nn.PixelShuffle(3)
        self.merge = nn.Conv2d(1, 1, 3, stride=3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.shuffle(self.split(torch.tanh(self.narrow(x))))
        return torch.sigmoid(self.merge(torch.tanh(parts)))


class Excitation(nn.Module):
    """Input x channel part x pixel part."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelExcitation(channels)
        self.pixel = PixelExcitation(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channel(x) * self.pixel(x)
