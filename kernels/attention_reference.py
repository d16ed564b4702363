"""What the attention kernels compute, in NumPy and float64. Axes: N, C channels, D channels that are compared, H, W."""

from __future__ import annotations

import numpy as np


def axial_attention(q_NCHW: np.ndarray, k_NCHW: np.ndarray, v_NCHW: np.ndarray) -> np.ndarray:
    """softmax(q . k / sqrt(C)) v along rows and along columns, averaged."""
    q, k, v = (x.astype(np.float64).transpose(0, 2, 3, 1) for x in (q_NCHW, k_NCHW, v_NCHW))
    rows = _attend(q, k, v)
    columns = _attend(*(x.transpose(0, 2, 1, 3) for x in (q, k, v))).transpose(0, 2, 1, 3)
    return ((rows + columns) / 2).transpose(0, 3, 1, 2)


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(N, lines, positions, C) each."""
    return _softmax(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])) @ v


def local_axial_attention(query_NDHW: np.ndarray, key_NDHW: np.ndarray, value_NCHW: np.ndarray, *, radius: int) -> np.ndarray:
    """softmax(query . key) value over the positions within `radius`, along rows and along columns, averaged; zeros outside."""
    query, key, value = (x.astype(np.float64) for x in (query_NDHW, key_NDHW, value_NCHW))
    sides = []
    for axis in (3, 2):
        margin = [(0, 0)] * 4
        margin[axis] = (radius, radius)
        keys, values = (np.lib.stride_tricks.sliding_window_view(np.pad(x, margin), 2 * radius + 1, axis) for x in (key, value))
        weights = _softmax(np.einsum("ndhw,ndhwk->nhwk", query, keys))
        sides.append(np.einsum("nhwk,nchwk->nchw", weights, values))
    return (sides[0] + sides[1]) / 2


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)
