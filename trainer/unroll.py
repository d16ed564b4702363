"""A network over a run of frames: forward with its state, and the truncated back-propagation of one training step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainer.losses.perception import Perception
from trainer.losses.training_loss import temporal_charbonnier, training_loss
from trainer.nets import Base, Network
from trainer.recipes import Recipe

State = tuple[Tensor, ...]


def start(net: Network, lr_N1HW: Tensor) -> State:
    """The state before the first frame; () for a network without one."""
    return net.first_state(lr_N1HW) if isinstance(net, Base) else ()


def forward(model: Any, lr_N1HW: Tensor, state: State) -> tuple[Tensor, State]:
    """One frame. model: a network, or what Fabric made of it."""
    made = model(lr_N1HW.contiguous(memory_format=torch.channels_last), *([state] if state else []))
    return made if isinstance(made, tuple) else (made, ())


def backward(
    model: Any,
    net: Network,
    lr_TN1HW: Tensor,
    hr_TN1HW: Tensor,
    recipe: Recipe,
    backward_from: Callable[[Tensor], None],
    perception: Perception | None = None,
) -> Tensor:
    """Gradients of a run's mean loss, in parts of `recipe.truncate` frames between which the state is cut off. Returns the loss.

    Memory is that of one part. backward_from: what takes a loss to gradients, which add up.
    """
    num = len(lr_TN1HW)
    state, total, last = start(net, lr_TN1HW[0]), torch.zeros((), device=lr_TN1HW.device), None
    for first in range(0, num, recipe.truncate):
        state = tuple(one.detach() for one in state)
        loss = torch.zeros((), device=lr_TN1HW.device)
        for t in range(first, min(first + recipe.truncate, num)):
            sr, state = forward(model, lr_TN1HW[t], state)
            sr = sr.float()
            loss = loss + training_loss(sr, hr_TN1HW[t], recipe, perception) / num
            if last is not None and recipe.temporal_weight:
                change = temporal_charbonnier(sr, last, hr_TN1HW[t], hr_TN1HW[t - 1], recipe.charbonnier_eps)
                loss = loss + recipe.temporal_weight * change / (num - 1)
            last = sr
        backward_from(loss)
        total += loss.detach()
        assert last is not None
        last = last.detach()
    return total
