"""Planes of codes to another size, for chroma and for exact target sizes: separable Lanczos or linear.

The same integers as FFmpeg's swscale with `accurate_rnd` and `bitexact` (Note [Agreement with swscale] of filters.py), so a picture
does not depend on where it was resampled. Reference: resample_reference.py. Layout: Note [Resampling] of resample.cu.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import launch_device as devices
from .chroma_sites import FIRST_CHROMA_SAMPLE
from .filters import NUM_TAPS, ONE_ACROSS, ONE_DOWN, Filter, make_taps
from .kernel_source import Kernel
from .launch_device import DEFAULT_SHARED_BYTES, Device, Tables, View

SAMPLES = {np.dtype(np.uint8): "u8", np.dtype(np.uint16): "u16"}
DEPTHS = (8, 9, 10, 12, 14, 16)
MAX_SIDE = 32768  # samples
TILE_WIDTH, TILE_HEIGHTS, BLOCK = 32, (32, 16, 8, 4, 2, 1), (32, 8)
Line = tuple[int, int, int, int, Filter, tuple[float, float], int]  # what make_taps is asked


def chroma_site(location: str, log2_chroma: tuple[int, int]) -> tuple[float, float]:
    """(x, y) of a chroma sample in its own cell, (0.5, 0.5) in the middle: ("left", (1, 1)) -> (0.25, 0.5).

    location: as FFmpeg names it; "unspecified" counts as left, as H.264 and H.265 specify. log2_chroma: (1, 1) for 4:2:0.
    """
    if location not in FIRST_CHROMA_SAMPLE and location != "unspecified":
        raise ValueError(f"Unknown chroma location {location!r}. Locations: unspecified, {', '.join(FIRST_CHROMA_SAMPLE)}.")
    first = FIRST_CHROMA_SAMPLE.get(location, FIRST_CHROMA_SAMPLE["left"])
    across, down = ((part * ((1 << log2) - 1) + 0.5) / (1 << log2) for part, log2 in zip(first, log2_chroma, strict=True))
    return across, down


def resample(
    samples: Any,
    out: Any,
    *,
    bits: int,
    kernel: Filter = "lanczos",
    site: tuple[float, float] = (0.5, 0.5),
    out_site: tuple[float, float] | None = None,
    extent: tuple[int, int] | None = None,
    added: tuple[int, int] = (0, 0),
    tables: Tables | None = None,
    stream: Any = None,
) -> Any:
    """Bring a plane to the size of `out`.

    samples: codes (h, w) in CUDA memory, uint8, or uint16 for more than 8 bits; rows may be padded.
    out: (H, W), same type, other memory; rows may be padded. Written whole.
    bits: 8, 9, 10, 12, 14 or 16.
    site: sample positions in their cells (`chroma_site`); out_site: in those of `out`, by default the same.
    extent: (width, height) that all of `samples` becomes, of which `out` is the upper left part; by default the size of `out`.
        Chroma of an odd size needs it: 81 samples of a picture 161 wide become 162 of one 322 wide, of which 161 count.
    added: columns and rows like the last ones that count as part of `samples`, for a ratio of whole numbers.
    tables: keeps the filters on the device for as long as it lives; a CUDA graph of this needs that.
    Returns `out`. Raises ValueError for sizes, strides and options that cannot be, TypeError for wrong types, RuntimeError without
    CuPy or a GPU.
    """
    with devices.open_device(stream) as device:
        source, target = device.view("samples", samples), device.view("out", out)
        _check(source, target, bits, kernel)
        height, width = target.shape
        full = (width, height) if extent is None else extent
        if full[0] < width or full[1] < height:
            raise ValueError(f"extent is {full[0]}x{full[1]}; out is a part of it, and has {width}x{height}.")
        if max(*source.shape, *full) > MAX_SIDE:
            raise ValueError(f"{source.shape[1]}x{source.shape[0]} samples to {full[0]}x{full[1]}; a side has at most {MAX_SIDE}.")
        after = site if out_site is None else out_site
        across = (source.shape[1], full[0], width, ONE_ACROSS, kernel, (site[0], after[0]), added[0])
        down = (source.shape[0], full[1], height, ONE_DOWN, kernel, (site[1], after[1]), added[1])
        _launch(device, source, target, across, down, bits=bits, tables=tables)
    return out


def _check(source: View, target: View, bits: int, kernel: str) -> None:
    if bits not in DEPTHS:
        raise ValueError(f"bits is {bits}; codes have {', '.join(map(str, DEPTHS))} bits.")
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    for view in (source, target):
        if view.dtype != dtype:
            raise TypeError(f"{view.name} is {view.dtype}; codes of {bits} bits are {dtype}.")
        if len(view.shape) != 2 or not all(view.shape):
            raise ValueError(f"{view.name} has shape {view.shape}; it has to be (h, w), not empty.")
        if view.shape[1] > 1 and view.strides[1] != dtype.itemsize:
            raise ValueError(f"{view.name} has strides {view.strides}; the samples of a row have to lie side by side.")
    if source.pointer == target.pointer:
        raise ValueError("out is samples itself; a result needs memory of its own.")
    if kernel not in NUM_TAPS:
        raise ValueError(f"Unknown kernel {kernel!r}. Kernels: {', '.join(NUM_TAPS)}.")


def _launch(device: Device, source: View, target: View, x: Line, y: Line, *, bits: int, tables: Tables | None) -> None:
    height, width = target.shape
    across, down = make_taps(*x), make_taps(*y)
    tile_height, shared_bytes = 0, 0
    for tile_height in TILE_HEIGHTS:
        shared_bytes = down.reach(tile_height) * TILE_WIDTH * 4
        if shared_bytes <= DEFAULT_SHARED_BYTES:
            break
    else:
        raise ValueError(f"{source.shape[0]} rows to {height} is too much at once: {down.num_taps} of them weigh in one.")
    first_x, weights_x = device.tables(x, lambda: (across.first, np.ascontiguousarray(across.weights.T)), tables)
    first_y, weights_y = device.tables(y, lambda: (down.first, down.weights), tables)
    device.launch(
        Kernel("resample.cu", "resample", (("SAMPLE", SAMPLES[source.dtype]),)),
        (-(-width // TILE_WIDTH), -(-height // tile_height)),
        BLOCK,
        [
            source, source.pitch(), target, target.pitch(), np.int32(width), np.int32(height), np.int32(tile_height),
            first_x, weights_x, np.int32(across.num_taps), first_y, weights_y, np.int32(down.num_taps), np.int32(bits),
        ],
        shared_bytes=shared_bytes,
    )  # fmt: skip
