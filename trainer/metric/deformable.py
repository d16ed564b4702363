"""Deformable convolution in plain torch, and the grouped multi-scale form that the queries pass.

The samples are taken by `grid_sample`, so the layer needs no compiled extension and exports to ONNX (opset 16). Sampling is linear, so the
channels are mixed before it, tap by tap: a k x k layer samples `made` channels k * k times instead of `given` channels.

Source: Dai et al., arXiv:1703.06211. Positions outside the picture read zero, as with torchvision.ops.deform_conv2d, whose order of the
offsets this keeps: (N, 2 k k, H, W), tap by tap, y before x, in pixels. Axes: N, C, H, W; T: taps.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def deform_conv(x_NCHW: Tensor, offset_NTHW: Tensor, weight_OCKK: Tensor) -> Tensor:
    """Convolve with stride 1 at displaced taps: (N, C, H, W), (N, 2 k k, H, W), (O, C, k, k) -> (N, O, H, W)."""
    n, c, h, w = x_NCHW.shape
    o, _, k, _ = weight_OCKK.shape
    taps = k * k
    mixed = functional.conv2d(x_NCHW, weight_OCKK.permute(2, 3, 0, 1).reshape(taps * o, c, 1, 1))
    # base positions from the tensors themselves: an exported graph stays free in N, H and W
    ones = torch.ones_like(offset_NTHW[:1, 0])
    y_HW, x_HW = (torch.cumsum(ones, axis)[0] - 1 for axis in (1, 2))
    reach = torch.arange(k, dtype=x_NCHW.dtype, device=x_NCHW.device) - k // 2
    tap_y = reach.repeat_interleave(k).view(1, taps, 1, 1)
    tap_x = reach.repeat(k).view(1, taps, 1, 1)
    offset = offset_NTHW.view(n, taps, 2, h, w)
    at_y, at_x = y_HW + tap_y + offset[:, :, 0], x_HW + tap_x + offset[:, :, 1]
    # grid_sample counts from -1 to 1 over the outer edges of the first and last pixel
    grid = torch.stack([(2 * at_x + 1) / w - 1, (2 * at_y + 1) / h - 1], -1).view(n * taps, h, w, 2)
    sampled = functional.grid_sample(mixed.view(n * taps, o, h, w), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.view(n, taps, o, h, w).sum(1)


class DeformConv(nn.Module):
    """One deformable convolution whose offsets come from a 3x3 convolution that starts at zero."""

    def __init__(self, given: int, made: int, kernel: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(given, 2 * kernel * kernel, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)
        self.weight = nn.Parameter(torch.empty(made, given, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(made))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return deform_conv(x, self.offset(x), self.weight) + self.bias.view(1, -1, 1, 1)


class MultiScaleDeformConv(nn.Module):
    """Kernels 3, 5, 7, 9 side by side, a quarter of the channels each, then 1x1."""

    KERNELS = (3, 5, 7, 9)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(DeformConv(channels, channels // 4, kernel) for kernel in self.KERNELS)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(torch.cat([part(x) for part in self.parts], 1))
