"""`LumaChroma` with the arithmetic of its int8 file, so that training makes up for what rounding to 8 bits costs.

The arithmetic: trainer.nets.int8_arithmetic. Axes: N batch, C channels, H rows, W columns.
"""

import torch
from torch import Tensor, nn

from trainer.nets.int8_arithmetic import ACTIVATIONS, measured_step, snap, snapped_weight
from trainer.nets.luma_chroma import MIDDLE, LumaChroma, gain_of_planes

CODE = 1 / 255  # step of the input


class LumaChromaInt8(LumaChroma):
    """Weights in codes with a sign, a step for each output channel; what convolutions read in codes, a learned step for each tensor.

    The input needs no step: its codes are 8 bits with a sign around MIDDLE. What the last convolution makes stays in float32.
    """

    def __init__(self, scale: int, channels: int = 16, layers: int = 4, *, residual: bool = False) -> None:
        super().__init__(scale, channels, layers, residual=residual)
        self.log_step = nn.Parameter(torch.full((layers + 1,), -5.0))  # of what the head and each body layer give; relative changes

    def forward(self, x_N5HW: Tensor) -> Tensor:
        """See `LumaChroma`; x_N5HW holds 8-bit codes / 255, or is rounded to them."""
        return self._run(x_N5HW, self._rounded)

    def _headed(self, x_N5HW: Tensor) -> Tensor:
        codes = snap(x_N5HW - MIDDLE, x_N5HW.new_tensor(CODE), -128, 127)  # the gain goes into the weights
        return _snapped(self.head, codes, self.head.weight * gain_of_planes(x_N5HW))

    def _convolved(self, conv: nn.Module, x_NCHW: Tensor) -> Tensor:
        assert isinstance(conv, nn.Conv2d)
        return _snapped(conv, x_NCHW, conv.weight)

    def _rounded(self, y: Tensor, point: int) -> Tensor:
        return snap(y, self.log_step[point].exp(), 0, ACTIVATIONS)

    @torch.no_grad()
    def measure(self, x_N5HW: Tensor) -> None:
        """Set the steps from what the tensors hold for this input."""

        def look(y_NCHW: Tensor, point: int) -> Tensor:
            self.log_step[point] = measured_step(y_NCHW).log()
            return y_NCHW

        self._run(x_N5HW, look)


def _snapped(conv: nn.Conv2d, x_NCHW: Tensor, weight_OIKK: Tensor) -> Tensor:
    return nn.functional.conv2d(x_NCHW, snapped_weight(weight_OIKK), conv.bias, padding=1)
