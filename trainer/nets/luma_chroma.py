"""Networks that read luma and chroma and write both larger: plain 3x3 convolutions, which a CPU runs in int8.

Axes: N batch, C channels, H rows, W columns of the input; s scale. The five input planes are luma, Cb, Cr in [0, 1] of their codes, both
chroma planes on the network's chroma grid (Note [Chroma grid] of trainer.data.yuv_planes), and the two planes of Note [Condition] of
trainer.data.as_found. The output planes are the s * s phases of luma and the two chroma planes, all at H x W.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

MIDDLE = 128 / 255  # of all codes: convolutions pad with mid-grey, and 8 bits with a sign hold every code exactly
CHROMA_GAIN = 4.0  # chroma varies about a quarter as much as luma
PLANES = 5


class LumaChroma(nn.Module):
    """A convolution in, `layers` in the body, one out, all 3x3 with ReLU between; two in the body may close a residual block.

    residual: adds the input of every pair of body layers to its output, which deep networks need.
    """

    def __init__(self, scale: int, channels: int = 16, layers: int = 4, *, residual: bool = False) -> None:
        super().__init__()
        self.scale, self.channels, self.layers, self.residual = scale, channels, layers, residual
        self.head = nn.Conv2d(PLANES, channels, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers))
        self.tail = nn.Conv2d(channels, scale * scale + 2, 3, padding=1)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)  # start as repetition
            self.tail.bias.zero_()  # type: ignore[union-attr]
            self.tail.weight[-2:] = 0

    def forward(self, x_N5HW: Tensor) -> Tensor:
        """(N, 5, H, W) -> (N, s * s + 2, H, W), neither clipped nor rounded."""
        return self._run(x_N5HW, lambda y_NCHW, _: y_NCHW)

    def _run(self, x_N5HW: Tensor, seen: Callable[[Tensor, int], Tensor]) -> Tensor:
        """forward; `seen` is shown what the head (0) and each body layer (from 1) give, and returns what goes on."""
        gain = x_N5HW.new_tensor([1.0, CHROMA_GAIN, CHROMA_GAIN, 1.0, 1.0]).view(1, PLANES, 1, 1)
        y = before = seen(torch.relu(self.head((x_N5HW - MIDDLE) * gain)), 0)
        for number, conv in enumerate(self.body):
            y = conv(y)
            if self.residual and number % 2:
                y = y + before
            y = seen(torch.relu(y), number + 1)
            if number % 2:
                before = y
        made = self.tail(y)
        luma, chroma = made[:, : self.scale**2], made[:, self.scale**2 :]
        return torch.cat([luma + x_N5HW[:, :1], chroma / CHROMA_GAIN + x_N5HW[:, 1:3]], 1)

    @property
    def receptive_radius(self) -> int:
        """Input pixels that an output pixel sees on each side of its own input pixel."""
        return 2 + self.layers

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds of the convolutions per input pixel."""
        c = self.channels
        return 9 * c * (PLANES + self.layers * c + self.scale**2 + 2)


def split(made_NCHW: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """The network's output -> luma (N, 1, s H, s W) and chroma (N, 2, H, W)."""
    return nn.functional.pixel_shuffle(made_NCHW[:, : scale * scale], scale), made_NCHW[:, scale * scale :]
