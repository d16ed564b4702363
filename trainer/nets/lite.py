"""The `lite` network: luma in, luma out, cheap enough for int8 inference on a CPU in real time.

Axes: N batch, C channels (1 for luma), H rows, W columns.
"""

import torch
from torch import Tensor, nn


class Lite(nn.Module):
    """3x3 convolutions at input resolution, one to the phases (the tail), a pixel shuffle, and the nearest-repeated input as the residual.

    tail: side of the last convolution. 3 makes the smallest network: at x2 a CPU makes the phases of four pixels at
    once (streamsr.engines.openvino_tail). 1 after one more 3x3, and with the first features added again before that: 19 % longer in int8.
    Every 3x3 pads with zeros. ReLU rather than PReLU: training ran at about twice the rate on two Zen 4 cores, and int8 activations
    become unsigned. planes: 3 makes RGB of RGB, for the ablation; the runtime takes luma alone.
    """

    def __init__(self, scale: int, channels: int = 16, layers: int = 5, planes: int = 1, tail: int = 1) -> None:
        super().__init__()
        self.scale, self.channels, self.layers, self.planes = scale, channels, layers, planes
        self.head = nn.Conv2d(planes, channels, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers))
        self.tail = nn.Conv2d(channels, planes * scale * scale, tail, padding=tail // 2)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)  # start as nearest repetition: the first steps need no warm-up
            self.tail.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Luma in [0, 1], (N, 1, H, W) -> (N, 1, scale * H, scale * W), neither clipped nor rounded."""
        first_NCHW = y_NCHW = torch.relu(self.head(x_NCHW))
        for conv in self.body[:-1]:
            y_NCHW = torch.relu(conv(y_NCHW))
        y_NCHW = torch.relu(self.body[-1](y_NCHW + first_NCHW if self.has_skip else y_NCHW))
        if self.planes > 1:
            x_NCHW = x_NCHW.repeat_interleave(self.scale**2, 1)
        # adding x to all scale^2 channels before the shuffle is nearest repetition, without a second full-size tensor
        return nn.functional.pixel_shuffle(self.tail(y_NCHW) + x_NCHW, self.scale)

    @property
    def has_skip(self) -> bool:
        """Whether the first features are added again before the last of `body`."""
        return self.tail.kernel_size[0] == 1

    @property
    def receptive_radius(self) -> int:
        """Input pixels that an output pixel sees on each side of its own input pixel."""
        return 1 + self.layers + self.tail.kernel_size[0] // 2

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds of the convolutions per input pixel."""
        c = self.channels
        return 9 * (self.planes * c + self.layers * c * c) + self.tail.kernel_size[0] ** 2 * c * self.planes * self.scale**2
