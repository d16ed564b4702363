"""The network's attention: the ONNX function `streamsr.LocalAxialAttention`.

Its body: trainer/export/onnx_attention.py; in torch: trainer/nets/local_axial_attention.py.
Reference: attention_reference.py. Layout: Note [Tiles] of local_tiles.cu. Axes: N, C channels, D channels that are compared, H, W.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import launch_device as devices
from .axial_attention import check_map, map_arguments
from .kernel_source import Kernel
from .launch_device import Device, View

VALUES = {np.dtype(np.float16): "half", np.dtype(np.float32): "float"}
BLOCK, CHUNK = (32, 8), 16  # of local_attention.cu
MAX_BATCHES = 65535  # of a grid's third axis
TILE, TILE_THREADS = 16, 128  # of local_tiles.cu
MAX_TILE_CHANNELS = 24  # with more of them, a thread's registers spill
MAX_TILE_BYTES = 64 * 1024  # of shared memory, on compute capability 7.5


def local_axial_attention(query_NDHW: Any, key_NDHW: Any, value_NCHW: Any, *, radius: int, out: Any = None, stream: Any = None) -> Any:
    """For each position, softmax(query . key) value over those within `radius` along its row and along its column, averaged.

    query, key (N, D, H, W) and value (N, C, H, W): the function's three inputs, all float16 or all float32, in CUDA memory; the
        elements of a row are contiguous, other strides are free. radius: the function's attribute, 0 or more.
    out: the function's output, (N, C, H, W) of the same type; written whole. Default: a new CuPy array.
    Values outside the picture are zeros and are included. Nothing is divided by sqrt(D): that is part of the network's weights.
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


@dataclass(frozen=True, slots=True)
class Tiles:
    """What local_tiles.cu is compiled for: channels rounded up to 8, and positions beside the tile, 8 or 16 of them."""

    compared: int
    channels: int
    halo: int

    @classmethod
    def of(cls, dtype: np.dtype, compared: int, channels: int, radius: int) -> Tiles | None:
        """None where the tiles do not fit: float32, a radius above 16, or more channels than shared memory and registers hold."""
        tiles = cls(-(-compared // 8) * 8, -(-channels // 8) * 8, 8 if radius <= 8 else 16)
        fits = dtype == np.float16 and radius <= 16 and tiles.channels <= MAX_TILE_CHANNELS and tiles.shared_bytes <= MAX_TILE_BYTES
        return tiles if fits else None

    @property
    def kernel(self) -> Kernel:
        return Kernel("local_tiles.cu", "local_tiles", (("COMPARED", self.compared), ("CHANNELS", self.channels), ("HALO", self.halo)))

    @property
    def shared_bytes(self) -> int:
        """The largest of what the three steps hold: rows, columns, the result (the constants of local_tiles.cuh)."""
        asked, planes = TILE + 2 * self.halo, self.compared + self.channels
        rows = 2 * (self.compared * (TILE * TILE + 8) + planes * (TILE * asked + 8))
        half = (planes * (4 * asked + 1) + 15) // 32 * 32 + 16
        columns = 4 * 2 * (self.compared * (4 * TILE + 1) + half)
        return max(rows, columns, 4 * self.channels * (TILE * (TILE + 1) + 4))


def _launch(device: Device, query: View, key: View, value: View, out: View, radius: int) -> None:
    batches, channels, height, width = value.shape
    compared = query.shape[1]
    tiles = Tiles.of(value.dtype, compared, channels, radius)
    arguments = [argument for view in (query, key, value, out) for argument in map_arguments(view)]
    sizes = [np.int32(size) for size in (compared, channels, height, width, radius)]
    chunks = 1 if tiles else -(-channels // CHUNK)
    if batches * chunks > MAX_BATCHES:
        raise ValueError(f"value has shape {value.shape}; N times {chunks} has to be at most {MAX_BATCHES}.")
    if tiles is not None:
        grid = (-(-width // TILE), -(-height // TILE), batches)
        device.launch(tiles.kernel, grid, (TILE_THREADS,), [*arguments, *sizes], shared_bytes=tiles.shared_bytes)
        return
    device.launch(
        Kernel("local_attention.cu", "local_attention", (("VALUE", VALUES[value.dtype]),)),
        (-(-width // BLOCK[0]), -(-height // BLOCK[1]), batches * chunks),
        BLOCK,
        [*arguments, *sizes],
    )
