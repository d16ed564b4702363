"""`max`: a network of luma and chroma that remembers. Axes: N batch, C channels, H rows, W columns of the input.

Frame features and the state of the frames before attend to each other (BiAttention); what the frame learned joins its features, what the
state learned goes into the next state, together with the features that the frame ends with. It sees the past alone, so it adds no delay.
"""

import torch
from torch import Tensor, nn

from trainer.nets.local_axial_attention import BiAttention
from trainer.nets.luma_chroma import LumaChroma

State = tuple[Tensor, ...]
JOIN = 2  # body layers before the state joins: features that see 7x7 pixels are matched better than those of 3x3


class RecurrentLumaChroma(LumaChroma):
    """`LumaChroma` of residual pairs, and a 3x3 convolution behind the first pair that the state goes into.

    radius: of the attention, in input pixels; 0: no attention, the state is read at the same place alone. A tanh keeps the state in -1..1,
    however long a stream runs. It starts as the network without a state.
    """

    def __init__(self, scale: int, channels: int = 48, layers: int = 12, *, radius: int = 6) -> None:
        super().__init__(scale, channels, layers, residual=True)
        self.radius = radius
        self.attention = BiAttention(channels, radius=radius) if radius else None
        learned = self.attention.learned if self.attention is not None else 0
        self.join = nn.Conv2d(2 * channels + learned, channels, 3, padding=1)
        self.update = nn.Conv2d(channels + learned, channels, 1)
        with torch.no_grad():
            self.join.weight.zero_()
            nn.init.dirac_(self.join.weight[:, :channels])
            self.join.bias.zero_()  # type: ignore[union-attr]
            for conv in self.body[1::2]:
                conv.weight.mul_(0.3)  # type: ignore[operator]  # near the identity: depth then costs no warm-up

    def first_state(self, x_N5HW: Tensor) -> State:
        """The state before the first frame: zeros."""
        n, _, h, w = x_N5HW.shape
        return (x_N5HW.new_zeros(n, self.channels, h, w),)

    def forward(self, x_N5HW: Tensor, state: State) -> tuple[Tensor, State]:  # type: ignore[override]
        """What `LumaChroma` gives of a frame, and the next state."""
        (before,) = state
        last, learned = x_N5HW, list[Tensor]()

        def seen(y_NCHW: Tensor, number: int) -> Tensor:
            nonlocal last
            if number == JOIN:
                parts = [y_NCHW, before]
                if self.attention is not None:
                    by_frame, by_state = self.attention(y_NCHW, before)
                    parts.append(by_frame)
                    learned.append(by_state)
                y_NCHW = torch.relu(self.join(torch.cat(parts, 1)))
            last = y_NCHW
            return y_NCHW

        made = self._run(x_N5HW, seen)
        return made, (torch.tanh(self.update(torch.cat([last, *learned], 1))),)

    @property
    def state_shapes(self) -> list[dict[str, object]]:
        """As in the model's JSON."""
        return [{"name": "state_0", "channels": self.channels, "scale": 1}]

    @property
    def receptive_radius(self) -> int:
        """Input pixels that one step sees on each side, of luma and chroma or of the state, whichever is more."""
        # pixels: head, pair, join, the other layers, tail; or head, pair, the state's attention. State: attention, join, layers, tail
        from_pixels = max(3 + self.layers, 1 + JOIN + self.radius)
        return max(from_pixels, self.radius + 2 + self.layers - JOIN)

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-adds per input pixel."""
        attention = 0
        if self.attention is not None:
            projections = sum(conv.weight.numel() for conv in (self.attention.of_frame, self.attention.of_state))
            attention = projections + self.attention.macs_per_pixel
        return super().macs_per_pixel + self.join.weight.numel() + self.update.weight.numel() + attention


def played(net: LumaChroma, x_TN5HW: Tensor) -> Tensor:
    """What a network makes of runs of frames, (T, N, s * s + 2, H, W): one frame after another where it has a state, all at once else."""
    if not isinstance(net, RecurrentLumaChroma):
        made: Tensor = net(x_TN5HW.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return made.unflatten(0, x_TN5HW.shape[:2])
    state, frames = net.first_state(x_TN5HW[0]), []
    for x_N5HW in x_TN5HW:
        made, state = net(x_N5HW.contiguous(memory_format=torch.channels_last), state)
        frames.append(made)
    return torch.stack(frames)


def widened(weights: dict[str, Tensor], net: LumaChroma) -> dict[str, Tensor]:
    """Weights for `net` with which it computes what a narrower residual `LumaChroma` with these computes; the others are as in `net`.

    Channels of its own start at random and change nothing yet; pairs of its own start as the identity. Both have gradients from the first
    step on, through what reads them or through what they read. Raises ValueError where the network does not fit into `net`.
    """
    own = {name: value.clone() for name, value in net.state_dict().items()}
    layers = sum(name.startswith("body") for name in weights) // 2
    narrow = len(weights["head.bias"])
    if narrow > net.channels or layers > net.layers or layers % 2 or not net.residual or len(weights["tail.bias"]) != len(own["tail.bias"]):
        raise ValueError(f"{narrow} channels and {layers} layers do not fit into {net.channels} channels and {net.layers} layers in pairs.")
    for name, value in weights.items():
        if name.endswith("bias"):
            own[name][: len(value)] = value
        elif name.startswith("head"):
            own[name][:narrow] = value
        else:  # what is there reads nothing of the new channels
            own[name][: len(value), narrow:] = 0
            own[name][: len(value), :narrow] = value
    for number in range(layers, net.layers, 2):
        own[f"body.{number + 1}.weight"].zero_()
        own[f"body.{number + 1}.bias"].zero_()
    return own
