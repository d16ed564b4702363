"""Networks that read luma and chroma and write both larger: plain 3x3 convolutions, which a CPU runs in int8.

Axes: N batch, C channels, H rows, W columns of the input; s scale. The five input planes are luma, Cb, Cr in [0, 1] of their codes, both
chroma planes on the network's chroma grid (Note [Chroma grid] of trainer.data.yuv_planes), and the two planes of Note [Condition] of
trainer.data.as_found. The output planes are the s * s phases of luma and the two chroma planes, all at H x W.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

MIDDLE = 128 / 255  # of all codes: convolutions pad with mid-grey, and 8 bits with a sign hold every code exactly
CHROMA_GAIN = 4.0  # chroma varies about a quarter as much as luma
PLANES = 5


class LumaChroma(nn.Module):
    """A convolution in, `layers` in the body, one out, all 3x3 with ReLU between; two in the body may close a residual block.

    What it makes of luma is added to linearly interpolated luma: of repeated pixels, networks leave the steps on gentle slopes.
    residual: adds the input of every pair of body layers to its output, which deep networks need.
    """

    interpolation: Tensor

    def __init__(self, scale: int, channels: int = 16, layers: int = 4, *, residual: bool = False) -> None:
        super().__init__()
        self.register_buffer("interpolation", linear_interpolation(scale), persistent=False)
        self.scale, self.channels, self.layers, self.residual = scale, channels, layers, residual
        self.head = nn.Conv2d(PLANES, channels, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers))
        self.tail = nn.Conv2d(channels, scale * scale + 2, 3, padding=1)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)  # start as what it adds to
            self.tail.bias.zero_()  # type: ignore[union-attr]
            self.tail.weight[-2:] = 0

    def forward(self, x_N5HW: Tensor) -> Tensor:
        """(N, 5, H, W) -> (N, s * s + 2, H, W), neither clipped nor rounded."""
        return self._run(x_N5HW, lambda y_NCHW, _: y_NCHW)

    def _run(self, x_N5HW: Tensor, seen: Callable[[Tensor, int], Tensor]) -> Tensor:
        """forward; `seen` is shown what the head (0) and each body layer (from 1) give, and returns what goes on."""
        y = before = seen(torch.relu(self._headed(x_N5HW)), 0)
        for number, conv in enumerate(self.body):
            y = self._convolved(conv, y)
            if self.residual and number % 2:
                y = y + before
            y = seen(torch.relu(y), number + 1)
            if number % 2:
                before = y
        made = self._convolved(self.tail, y)
        luma, chroma = made[:, : self.scale**2], made[:, self.scale**2 :]
        return torch.cat([luma + self._larger(x_N5HW[:, :1]), chroma / CHROMA_GAIN + x_N5HW[:, 1:3]], 1)

    def _larger(self, luma_N1HW: Tensor) -> Tensor:
        """Luma that the phases are added to, (N, s * s, H, W): by multiplications, which autocast leaves in float32."""
        height, width = luma_N1HW.shape[2:]
        padded = nn.functional.pad(luma_N1HW, (1, 1, 1, 1), mode="replicate")
        large = torch.zeros_like(luma_N1HW)
        for row, column in itertools.product(range(3), repeat=2):
            large = large + padded[..., row : row + height, column : column + width] * self.interpolation[:, 0, row, column].view(-1, 1, 1)
        return large

    def _headed(self, x_N5HW: Tensor) -> Tensor:
        """What the first convolution makes of the input, (N, C, H, W)."""
        return self._convolved(self.head, (x_N5HW - MIDDLE) * gain_of_planes(x_N5HW))

    def _convolved(self, conv: nn.Module, x_NCHW: Tensor) -> Tensor:
        made: Tensor = conv(x_NCHW)
        return made

    @property
    def receptive_radius(self) -> int:
        """Input pixels that an output pixel sees on each side of its own input pixel."""
        return 2 + self.layers

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds of the convolutions per input pixel."""
        c = self.channels
        return 9 * c * (PLANES + self.layers * c + self.scale**2 + 2) + self.interpolation.numel()


def gain_of_planes(like: Tensor) -> Tensor:
    """What the input's planes are multiplied by, (1, 5, 1, 1), of the type and on the device of `like`."""
    return like.new_tensor([1.0, CHROMA_GAIN, CHROMA_GAIN, 1.0, 1.0]).view(1, PLANES, 1, 1)


def linear_interpolation(scale: int) -> Tensor:
    """(s * s, 1, 3, 3): a convolution to the phases of a plane `scale` times as large.

    Shares are of 16ths, so that all weights are exact in bfloat16: 5/16 in place of 1/3.
    """
    taps = torch.zeros(scale, 3)
    for phase in range(scale):
        place = (phase + 0.5) / scale - 0.5  # in input pixels, from the middle of the nearest
        share = round(abs(place) * 16) / 16
        taps[phase, 1] = 1 - share
        taps[phase, 1 + (1 if place > 0 else -1)] = share
    return torch.einsum("ak,bl->abkl", taps, taps).reshape(scale * scale, 1, 3, 3)


def split(made_NCHW: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The network's output -> luma (N, 1, s H, s W) and chroma (N, 2, H, W)."""
    return nn.functional.pixel_shuffle(made_NCHW[:, : scale * scale], scale), made_NCHW[:, scale * scale :]
