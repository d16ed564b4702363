"""The metric's attention on whole pictures, without ever storing the logits.

The same as trainer/metric/bidirectional_attention.py with the behaviour "fixed".
Reference: attention_reference.py. Layout: Note [Whole lines] of axial_attention.cu. Axes: N, C, H, W.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import launch_device as devices
from .kernel_source import Kernel
from .launch_device import Argument, Device, View

MAX_CHANNELS = 256  # their sums are a thread's registers
MAX_SIDE = 4096
TURN_SIDE, TURN_BLOCK = 32, (32, 8)
ASKED = 32
WIDE = 160  # channels above which blocks have two warps, not four, and half of the values: 51 of 64 KB of shared memory, no spilled sums


def axial_attention(q_NCHW: Any, k_NCHW: Any, v_NCHW: Any, *, out: Any = None, stream: Any = None) -> Any:
    """softmax(q . k / sqrt(C)) v along rows and along columns, averaged.

    q, k, v: (N, C, H, W) float16 in CUDA memory; C to 256, H and W to 4096. The elements of a row are contiguous; any other
        strides, so parts of a tensor split along N or C and padded rows do as well.
    out: the same shape, float16; written whole. Default: a new CuPy array.
    float32 sums and a running maximum: within 1e-3 of the largest value of a float64 reference.
    Returns `out`. Raises ValueError for shapes and strides, TypeError for types, RuntimeError without CuPy or a GPU.
    """
    with devices.open_device(stream) as device:
        q, k, v = (check_map(device.view(name, array)) for name, array in (("q", q_NCHW), ("k", k_NCHW), ("v", v_NCHW)))
        for view in (k, v):
            if view.shape != q.shape:
                raise ValueError(f"{view.name} has shape {view.shape}, q has {q.shape}; they have to be alike.")
        _, channels, height, width = q.shape
        if not 0 < channels <= MAX_CHANNELS or max(height, width) > MAX_SIDE:
            raise ValueError(f"q has shape {q.shape}; at most {MAX_CHANNELS} channels and {MAX_SIDE} rows and columns.")
        result = device.empty("out", q.shape, np.float16) if out is None else check_map(device.view("out", out))
        if result.shape != q.shape:
            raise ValueError(f"out has shape {result.shape}; it has to be {q.shape}.")
        if not all(q.shape):
            return result.array if out is None else out
        _launch(device, q, k, v, result)
    return result.array if out is None else out


def check_map(view: View, dtypes: tuple[Any, ...] = (np.float16,)) -> View:
    """(N, C, H, W) whose rows are contiguous. Raises ValueError, TypeError."""
    if view.dtype not in dtypes:
        raise TypeError(f"{view.name} is {view.dtype}; it has to be {' or '.join(np.dtype(dtype).name for dtype in dtypes)}.")
    if len(view.shape) != 4:
        raise ValueError(f"{view.name} has shape {view.shape}; it has to be (N, C, H, W).")
    if all(view.shape) and view.shape[3] > 1 and view.strides[3] != view.dtype.itemsize:
        raise ValueError(f"{view.name} has strides {view.strides}; the elements of a row have to lie side by side.")
    return view


def map_arguments(view: View) -> list[Argument]:
    """Where a map starts and its strides along N, C and H, in elements."""
    return [view, view.pitch(0), view.pitch(1), view.pitch(2)]


def _launch(device: Device, q: View, k: View, v: View, out: View) -> None:
    batches, channels, height, width = q.shape
    padded = -(-channels // 16) * 16
    warps, parts = (2, 2) if padded > WIDE else (4, 1)
    values = -(-padded // parts // 16) * 16
    macros = (("CHANNELS", padded), ("VALUES", values), ("WARPS", warps))
    pitch = -(-height // 8) * 8  # whole runs of 16 bytes
    turned = [device.empty(f"turned {view.name}", (batches, channels, width, pitch), np.float16) for view in (q, k, v)]
    rows = device.empty("rows", (batches, channels, height, width), np.float32)
    columns = device.empty("columns", (batches, channels, width, height), np.float32)
    sides = [np.int32(side) for side in (channels, height, width)]
    turn_grid = (-(-width // TURN_SIDE), -(-height // TURN_SIDE), batches * channels)
    sources = [argument for view in (q, k, v) for argument in map_arguments(view)]
    device.launch(Kernel("axial_attention.cu", "transpose", macros), turn_grid, TURN_BLOCK, [*sources, *turned, np.int64(pitch), *sides])
    asking = 16 * warps
    blocks = batches * (height * -(-width // asking) + width * -(-height // asking))
    device.launch(
        Kernel("axial_attention.cu", "attend_lines", macros),
        (blocks, parts),
        (32 * warps,),
        [*sources, *turned, np.int64(pitch), rows, columns, np.int32(batches), *sides, np.float32(math.log2(math.e) / math.sqrt(channels))],
        shared_bytes=2 * (padded * (asking + 8) + (padded + values) * (ASKED + 8)),
    )
    device.launch(Kernel("axial_attention.cu", "average", macros), turn_grid, TURN_BLOCK, [rows, columns, *map_arguments(out), *sides])
