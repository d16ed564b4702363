"""Growing: a `Base` of twice the width that computes what a trained `Lite` computes, to go on from there."""

import torch
from torch import Tensor

from trainer.nets.base import Base


def can_grow(weights: dict[str, Tensor], net: Base) -> bool:
    """Whether these are the weights of a `Lite` with a 1x1 tail that `grown` can put into `net`."""
    head, tail, depth = weights.get("head.weight"), weights.get("tail.weight"), sum(name.startswith("body") for name in weights) // 2
    return (
        net.recurrent and head is not None and 2 * len(head) == net.channels and depth == net.layers + 1 and "join.weight" not in weights
        and tail is not None and tuple(tail.shape) == (net.scale**2, len(head), 1, 1)
    )  # fmt: skip


def grown(weights: dict[str, Tensor], net: Base) -> dict[str, Tensor]:
    """Weights for `net`, the other parameters as they are in it: luma_hr is that of the `Lite`, whatever the state.

    Channels 0..c-1 (A) carry the Lite's features, c..2c-1 (B) its first ones until its last convolution. A residual pair adds what it is
    given; the inner half that is free passes that on, and the second convolution takes it away again. Weights that meet the state, or
    channels without a use yet, start at zero or at random, and have gradients from the first step on.
    """
    own = {name: value.clone() for name, value in net.state_dict().items()}
    c = net.channels // 2
    same = torch.nn.init.dirac_(torch.empty(c, c, 3, 3))

    def layer(name: str) -> tuple[Tensor, Tensor]:
        own[f"{name}.weight"].zero_()
        own[f"{name}.bias"].zero_()
        return own[f"{name}.weight"], own[f"{name}.bias"]

    own["head.weight"][:c], own["head.bias"][:c] = weights["head.weight"], weights["head.bias"]
    join, bias = layer("join")
    join[:c, :c], bias[:c] = weights["body.0.weight"], weights["body.0.bias"]
    join[c:, :c] = same
    for i in range(0, net.layers, 2):
        is_last = i == net.layers - 2
        first, bias = layer(f"body.{i}")
        first[:c, :c], bias[:c] = weights[f"body.{i + 1}.weight"], weights[f"body.{i + 1}.bias"]
        first[c:, slice(c, None) if is_last else slice(c)] = same  # what the pair is given, and adds again
        second, bias = layer(f"body.{i + 1}")
        made = slice(c, None) if is_last else slice(c)
        second[made, :c], bias[made] = weights[f"body.{i + 2}.weight"], weights[f"body.{i + 2}.bias"]
        second[made, c:] = (weights[f"body.{i + 2}.weight"] if is_last else 0) - same
    tail, bias = layer("tail")
    tail[:, c:], bias[:] = weights["tail.weight"], weights["tail.bias"]
    return own
