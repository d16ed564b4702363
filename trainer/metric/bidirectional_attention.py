"""Bi-directional attention, decoupled: each stream attends to the other along rows and along columns; the two are averaged.

Cost H W (H + W) instead of (H W)^2, so a whole picture is judged at once. `axial_attention` is the plain reference that every faster form
has to agree with. Source: Zhou et al., arXiv:2602.21482. Axes: N, C, H, W.
"""

from typing import Literal

import torch
from torch import Tensor

Behaviour = Literal["fixed", "paper"]


def axial_attention(q_NCHW: Tensor, k_NCHW: Tensor, v_NCHW: Tensor, *, behaviour: Behaviour = "fixed") -> Tensor:
    """Attention along rows and along columns, averaged: (N, C, H, W) each -> (N, C, H, W).

    "fixed": softmax(q . k / sqrt(C)) over the positions whose values are summed, picture by picture.
    "paper": logits divided by their standard deviation over the whole batch, softmax over the positions that ask.
    """
    q, k, v = (x.permute(0, 2, 3, 1) for x in (q_NCHW, k_NCHW, v_NCHW))
    rows = _attend(q, k, v, behaviour)
    columns = _attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), behaviour).transpose(1, 2)
    return ((rows + columns) / 2).permute(0, 3, 1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, behaviour: Behaviour) -> Tensor:
    """(N, lines, positions, C) each; a line is a sequence of its own."""
    logits = q @ k.transpose(-1, -2)  # (N, lines, asking, asked)
    if behaviour == "paper":
        return torch.softmax(logits / logits.std(), -2) @ v
    return torch.softmax(logits * q.shape[-1] ** -0.5, -1) @ v


def attend_both(q1: Tensor, k1: Tensor, v1: Tensor, q2: Tensor, k2: Tensor, v2: Tensor, *, behaviour: Behaviour) -> tuple[Tensor, Tensor]:
    """Stream 1 asks stream 2 and the other way round: Q1 K2 weighs V1, Q2 K1 weighs V2."""
    return axial_attention(q1, k2, v1, behaviour=behaviour), axial_attention(q2, k1, v2, behaviour=behaviour)
