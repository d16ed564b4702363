"""The network's attention: the ONNX function `streamsr.LocalAxialAttention` (trainer/onnx_attention.py, trainer/nets/attention.py).

Reference: attention_reference.py. Layout: Note [Tiles] of local_tiles.cu. Axes: N, C channels, D channels that are compared, H, W.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import device as devices
from .axial_attention import check_map, map_arguments
from .device import Device, View
from .source import Kernel

VALUES = {np.dtype(np.float16): "half", np.dtype(np.float32): "float"}
BLOCK, CHUNK = (32, 8), 16  # of local_attention.cu
MAX_BATCHES = 65535  # of a grid's third axis


def local_axial_attention(query_NDHW: Any, key_NDHW: Any, value_NCHW: Any, *, radius: int, out: Any = None, stream: Any = None) -> Any:
    """For each position, softmax(query . key) value over those within `radius` along its row and along its column, averaged.

    query, key (N, D, H, W) and value (N, C, H, W): the function's three inputs, all float16 or all float32, in CUDA memory; the
        elements of a row lie side by side, other strides are free. radius: the function's attribute, 0 or more.
    out: the function's output, (N, C, H, W) of the same type; written whole. Default: a new CuPy array.
    Outside the picture lie zeros, which take part. Nothing is divided by sqrt(D): that is part of the network's weights.
    float32 sums; float16 within 1e-3 of the largest value of a float64 reference.
    Returns `out`. Raises ValueError for shapes, strides and radius, TypeError for types, RuntimeError without CuPy or a GPU.
    """
    if radius < 0:
        raise ValueError(f"radius is {radius}; it has to be 0 or more.")
    with devices.open_device(stream) as device:
        named = (("query", query_NDHW), ("key", key_NDHW), ("value", value_NCHW))
        query, key, value = (check_map(device.view(name, array), tuple(VALUES)) for name, array in named)
        if key.shape != query.shape:
            raise ValueError(f"key has shape {key.shape}, query has {query.shape}; they have to be alike.")
        if (value.shape[0], *value.shape[2:]) != (query.shape[0], *query.shape[2:]):
            raise ValueError(f"value has shape {value.shape}, query has {query.shape}; N, H and W have to be the same.")
        result = device.empty("out", value.shape, value.dtype) if out is None else check_map(device.view("out", out), tuple(VALUES))
        if result.shape != value.shape:
            raise ValueError(f"out has shape {result.shape}; it has to be {value.shape}, as value.")
        types = {view.dtype for view in (query, key, value, result)}
        if len(types) > 1:
            raise TypeError(f"query, key, value and out are of {', '.join(sorted(map(str, types)))}; one type for all.")
        if all(value.shape):
            _launch(device, query, key, value, result, radius)
    return result.array if out is None else out


def _launch(device: Device, query: View, key: View, value: View, out: View, radius: int) -> None:
    batches, channels, height, width = value.shape
    compared = query.shape[1]
    arguments = [argument for view in (query, key, value, out) for argument in map_arguments(view)]
    sizes = [np.int32(size) for size in (compared, channels, height, width, radius)]
    chunks = -(-channels // CHUNK)
    if batches * chunks > MAX_BATCHES:
        raise ValueError(f"value has shape {value.shape}; N times {chunks} has to be at most {MAX_BATCHES}.")
    device.launch(
        Kernel("local_attention.cu", "local_attention", (("VALUE", VALUES[value.dtype]),)),
        (-(-width // BLOCK[0]), -(-height // BLOCK[1]), batches * chunks),
        BLOCK,
        [*arguments, *sizes],
    )
