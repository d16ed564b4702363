"""`Lite` with the arithmetic of its int8 file, so that training makes up for what rounding to 8 bits costs.

The arithmetic: trainer.nets.int8_arithmetic. Axes: N batch, C channels, H rows, W columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainer.nets.int8_arithmetic import ACTIVATIONS, measured_step, snap, snapped_weight
from trainer.nets.lite import Lite


class QuantisedLite(Lite):
    """Weights in codes with a sign, a step for each output channel; what convolutions read in 8 bits without one, a step for each tensor.

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
        return self._run(x_NCHW, lambda y_NCHW, point: snap(y_NCHW, self.log_step[point].exp(), 0, ACTIVATIONS))

    @torch.no_grad()
    def measure(self, x_NCHW: Tensor) -> None:
        """Set the steps from what the tensors hold for this input."""

        def look(y_NCHW: Tensor, point: int) -> Tensor:
            step = measured_step(y_NCHW)
            self.log_step[point] = step.log()
            return snap(y_NCHW, step, 0, ACTIVATIONS)

        self._run(x_NCHW, look)

    def _run(self, x_NCHW: Tensor, rounded: Callable[[Tensor, int], Tensor]) -> Tensor:
        first_NCHW = y_NCHW = rounded(torch.relu(_convolved(self.head, x_NCHW)), 0)
        for i, conv in enumerate(self.body[:-1]):
            y_NCHW = rounded(torch.relu(_convolved(conv, y_NCHW)), 1 + i)
        if self.has_skip:
            y_NCHW = rounded(y_NCHW + first_NCHW, self.layers)
        y_NCHW = rounded(torch.relu(_convolved(self.body[-1], y_NCHW)), -1)
        return nn.functional.pixel_shuffle(_convolved(self.tail, y_NCHW) + x_NCHW, self.scale)


def _convolved(conv: nn.Module, x_NCHW: Tensor) -> Tensor:
    assert isinstance(conv, nn.Conv2d)
    return nn.functional.conv2d(x_NCHW, snapped_weight(conv.weight), conv.bias, padding=conv.padding)
