"""Local axial attention between two feature maps: each position of one looks at the row and the column around it in the other.

For 2 radius + 1 positions along an axis: weights = softmax over them of query . key, result = the weighted sum of their values;
rows and columns averaged. Outside the picture lie zeros, which take part. The video form of the metric's axial attention
(trainer/metric/bidirectional_attention.py). In an ONNX file it is the function `streamsr.LocalAxialAttention`
(trainer/export/onnx_attention.py).
Axes: N, C channels, D channels that are compared, H, W, K positions looked at.
"""

import torch
from torch import Tensor, nn

ROWS, COLUMNS = 2, 3  # the axes of N, C, H, W that are looked along


def local_axial_attention(query_NDHW: Tensor, key_NDHW: Tensor, value_NCHW: Tensor, *, radius: int) -> Tensor:
    """(N, C, H, W)."""
    across, down = (_along(query_NDHW, key_NDHW, value_NCHW, radius, axis) for axis in (COLUMNS, ROWS))
    return (across + down) / 2


def _along(query: Tensor, key: Tensor, value: Tensor, radius: int, axis: int) -> Tensor:
    margin = [radius, radius] if axis == COLUMNS else [0, 0, radius, radius]
    length = query.shape[axis]
    # a shift at a time: with all positions at once a recurrent network of 32 channels took a third more time on a CPU
    query, key, value = query.contiguous(), nn.functional.pad(key.contiguous(), margin), nn.functional.pad(value.contiguous(), margin)
    shifts = range(2 * radius + 1)
    alike_NKHW = torch.stack([(query * key.narrow(axis, shift, length)).sum(1) for shift in shifts], 1)
    weights_NKHW = torch.softmax(alike_NKHW, 1)
    result = torch.zeros_like(query[:, :1])
    for shift in shifts:
        result = result + weights_NKHW[:, shift : shift + 1] * value.narrow(axis, shift, length)
    return result


class BiAttention(nn.Module):
    """Frame features and state ask each other: (frame, state), (N, channels, H, W) each -> what each learned, (N, learned, H, W) each."""

    def __init__(self, channels: int, *, radius: int, compared: int = 8, learned: int = 16) -> None:
        super().__init__()
        self.radius, self.compared, self.learned = radius, compared, learned
        self.of_frame, self.of_state = (nn.Conv2d(channels, 2 * compared + learned, 1) for _ in range(2))
        with torch.no_grad():
            for conv in (self.of_frame, self.of_state):
                conv.weight[:compared] *= compared**-0.5  # queries: the usual 1 / sqrt(D), here part of what is learned

    def forward(self, frame_NCHW: Tensor, state_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self.compared, self.compared, self.learned]
        query_f, key_f, value_f = self.of_frame(frame_NCHW).split(parts, 1)
        query_s, key_s, value_s = self.of_state(state_NCHW).split(parts, 1)
        return (
            local_axial_attention(query_f, key_s, value_s, radius=self.radius),
            local_axial_attention(query_s, key_f, value_f, radius=self.radius),
        )

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds of weights and sums, both directions and both axes, without the projections."""
        return 2 * 2 * (2 * self.radius + 1) * (self.compared + self.learned)
