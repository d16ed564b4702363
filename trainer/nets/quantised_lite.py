"""`Lite` with the arithmetic of its int8 file, so that training makes up for what rounding to 8 bits costs.

Source: Esser et al., Learned Step Size Quantization, arXiv:1902.08153. Axes: N batch, C channels, H rows, W columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainer.nets.lite import Lite

QUANTILE = 0.9999  # of a tensor's values: where its range ends before training moves it


class QuantisedLite(Lite):
    """Weights in 8 bits with a sign, a step for each output channel; what convolutions read in 8 bits without one, a step for each tensor.

    The steps of the latter are learned. The input is in 8 bits anyway; the last convolution's output and the residual stay in float32.
    """

    def __init__(self, scale: int, channels: int = 16, layers: int = 5, tail: int = 1) -> None:
        super().__init__(scale, channels, layers, tail=tail)
        # of the tensors named in `points`; logarithms, so that a change is relative
        self.log_step = nn.Parameter(torch.full((len(self.points),), -5.0))

    @property
    def points(self) -> list[str]:
        """Names of the quantised tensors in the ONNX graph (trainer.export.onnx_lite), in the order of `log_step`."""
        before, last = [f"body{i}.relu" for i in range(self.layers - 1)], f"body{self.layers - 1}.relu"
        return ["head.relu", *before, *(["skip.out"] if self.has_skip else []), last]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """See `Lite`; x_NCHW holds 8-bit codes / 255."""
        return self._run(x_NCHW, lambda y_NCHW, point: snap(y_NCHW, self.log_step[point].exp(), 0, 255))

    @torch.no_grad()
    def measure(self, x_NCHW: Tensor) -> None:
        """Set the steps from what the tensors hold for this input."""

        def look(y_NCHW: Tensor, point: int) -> Tensor:
            values = y_NCHW.flatten()
            largest = values.kthvalue(max(1, int(QUANTILE * len(values)))).values.clamp_min(1e-3)
            self.log_step[point] = (largest / 255).log()
            return snap(y_NCHW, largest / 255, 0, 255)

        self._run(x_NCHW, look)

    def _run(self, x_NCHW: Tensor, rounded: Callable[[Tensor, int], Tensor]) -> Tensor:
        first_NCHW = y_NCHW = rounded(torch.relu(_convolved(self.head, x_NCHW)), 0)
        for i, conv in enumerate(self.body[:-1]):
            y_NCHW = rounded(torch.relu(_convolved(conv, y_NCHW)), 1 + i)
        if self.has_skip:
            y_NCHW = rounded(y_NCHW + first_NCHW, self.layers)
        y_NCHW = rounded(torch.relu(_convolved(self.body[-1], y_NCHW)), -1)
        return nn.functional.pixel_shuffle(_convolved(self.tail, y_NCHW) + x_NCHW, self.scale)


def snap(x: Tensor, step: Tensor, low: int, high: int) -> Tensor:
    """x to the nearest of the steps `low` to `high`. Gradients pass through the rounding."""
    codes = (x / step).clamp(low, high)
    return (codes + (codes.round() - codes).detach()) * step


def weight_step(weight_OIKK: Tensor, codes: int = 127) -> Tensor:
    """(O, 1, 1, 1): of `codes` codes on each side of zero, for each output channel."""
    return weight_OIKK.detach().abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-8) / codes


def _convolved(conv: nn.Module, x_NCHW: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv2d)
    weight_OIKK = snap(conv.weight, weight_step(conv.weight), -127, 127)
    return nn.functional.conv2d(x_NCHW, weight_OIKK, conv.bias, padding=conv.padding)
