"""The `base` network (recurrent) and, without a state and wider, `max`. Axes: N batch, C channels, H rows, W columns."""

import torch
from torch import Tensor, nn

from trainer.nets.local_axial_attention import BiAttention


class Base(nn.Module):
    """A head, residual pairs of 3x3 convolutions at input resolution, a 1x1 and a pixel shuffle over the repeated input.

    With `recurrent`, features of the frame and the state of the frames before look at each other (BiAttention, where `radius` is not 0):
    what the frame learned goes into the reconstruction, what the state learned into the next state, together with the features that the
    reconstruction ends with. It sees the past alone, so it adds no delay. A tanh keeps the state in -1..1, however long a stream runs.
    Every convolution pads with zeros.
    """

    def __init__(self, scale: int, channels: int = 32, layers: int = 6, *, recurrent: bool = True, radius: int = 6) -> None:
        super().__init__()
        if layers % 2:
            raise ValueError(f"layers is {layers}; residual pairs need an even number.")
        self.scale, self.channels, self.layers, self.recurrent = scale, channels, layers, recurrent
        self.radius = radius if recurrent else 0
        self.head = nn.Conv2d(1, channels, 3, padding=1)
        if recurrent:
            self.attention = BiAttention(channels, radius=radius) if radius else None
            learned = self.attention.learned if self.attention is not None else 0
            self.join = nn.Conv2d(2 * channels + learned, channels, 3, padding=1)
            self.update = nn.Conv2d(channels + learned, channels, 1)
        self.body = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers))
        self.tail = nn.Conv2d(channels, scale * scale, 1)
        with torch.no_grad():
            self.tail.weight.mul_(0.1)  # start as nearest repetition
            self.tail.bias.zero_()  # type: ignore[union-attr]
            if recurrent:  # start as the network without a state, which may seed this one
                self.join.weight.mul_(0.1)
                self.join.weight[:, :channels] += nn.init.dirac_(torch.empty(channels, channels, 3, 3))
                self.join.bias.zero_()  # type: ignore[union-attr]
            for conv in self.body[1::2]:
                conv.weight.mul_(0.3)  # type: ignore[operator]  # start near the identity: depth then costs no warm-up

    def first_state(self, x_N1HW: Tensor) -> tuple[Tensor, ...]:
        """The state before the first frame: zeros."""
        n, _, h, w = x_N1HW.shape
        return (x_N1HW.new_zeros(n, self.channels, h, w),) if self.recurrent else ()

    def forward(self, x_N1HW: Tensor, state: tuple[Tensor, ...] = ()) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Luma in [0, 1] and the state -> luma (N, 1, scale * H, scale * W), neither clipped nor rounded, and the next state."""
        y = torch.relu(self.head(x_N1HW))
        learned: list[Tensor] = []
        if self.recurrent:
            (before,) = state
            parts = [y, before]
            if self.attention is not None:
                by_frame, by_state = self.attention(y, before)
                parts.append(by_frame)
                learned.append(by_state)
            y = torch.relu(self.join(torch.cat(parts, 1)))
        for first, second in zip(self.body[::2], self.body[1::2], strict=True):
            y = torch.relu(y + second(torch.relu(first(y))))
        # adding x to all scale^2 channels before the shuffle is nearest repetition
        luma_hr = nn.functional.pixel_shuffle(self.tail(y) + x_N1HW, self.scale)
        following = (torch.tanh(self.update(torch.cat([y, *learned], 1))),) if self.recurrent else ()
        return luma_hr, following

    @property
    def state_shapes(self) -> list[dict[str, object]]:
        """As in the model's JSON."""
        return [{"name": "state_0", "channels": self.channels, "scale": 1}] if self.recurrent else []

    @property
    def receptive_radius(self) -> int:
        """Input pixels that one step sees on each side, of luma and state."""
        # the head's pixel for luma, the attention's for the state: what the attention learns from luma goes into the next state alone
        return (max(1, self.radius) + 1 if self.recurrent else 1) + self.layers

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds per input pixel."""
        convolutions = [module for module in self.modules() if isinstance(module, nn.Conv2d)]
        attention = self.attention.macs_per_pixel if self.recurrent and self.attention is not None else 0
        return sum(conv.weight.numel() for conv in convolutions) + attention
