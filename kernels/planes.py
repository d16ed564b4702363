"""Planes of codes <-> planes of levels for the network: level = code / (2^bits - 1), limited or full range alike.

Nothing but the number changes: no matrix, no stretch of the range. Reference: planes_reference.py. Layout and traffic: Note [Planes] of
planes.cu.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import launch_device as devices
from .kernel_source import Kernel
from .launch_device import Argument, Device, View

LEVELS = {np.dtype(np.float16): "half", np.dtype(np.float32): "float"}
SAMPLES = {np.dtype(np.uint8): "u8", np.dtype(np.uint16): "u16"}
BITS = range(8, 17)
BLOCK = (32, 8)
RUN = 8  # samples that a thread moves


def unpack(plane: Any, levels: Any, *, bits: int, stream: Any = None) -> None:
    """Codes as levels in [0, 1]; what `levels` has beyond the plane repeats its last column and row.

    plane: (h, w) in CUDA memory, uint8 for 8 bits and uint16 for 9 to 16, in the low bits; rows may be padded.
    levels: (H, W), no smaller, float16 or float32, rows may be padded; written whole.
    Half precision holds 8 and 10 bits exactly; of 12 and more it keeps the 11 leading ones.
    Raises ValueError for wrong shapes or strides, TypeError for wrong types, RuntimeError without CuPy or a GPU.
    """
    with devices.open_device(stream) as device:
        codes, target = _view(device, plane, levels, bits)
        (height, width), (full_height, full_width) = codes.shape, target.shape
        if full_height < height or full_width < width or not all(codes.shape):
            raise ValueError(f"levels has shape {target.shape}; it has to hold a plane of {codes.shape}, which is not empty.")
        sizes = [np.int32(size) for size in (width, height, full_width, full_height)]
        arguments: list[Argument] = [codes, codes.pitch(), target, target.pitch(), *sizes, _max_code(bits)]
        device.launch(_kernel("unpack", codes, target), _grid(full_width, full_height), BLOCK, arguments)


def pack(levels: Any, plane: Any, *, bits: int, stream: Any = None) -> None:
    """Levels as codes: level * (2^bits - 1), rounded half to even and clipped; what is not a number becomes 0.

    levels, plane: as of `unpack`, of one shape; padding is left as it is. Raises as `unpack` does.
    """
    with devices.open_device(stream) as device:
        codes, source = _view(device, plane, levels, bits)
        if codes.shape != source.shape:
            raise ValueError(f"levels has shape {source.shape}, plane {codes.shape}; they have to be alike.")
        height, width = codes.shape
        arguments: list[Argument] = [source, source.pitch(), codes, codes.pitch(), np.int32(width), np.int32(height), _max_code(bits)]
        device.launch(_kernel("pack", codes, source), _grid(width, height), BLOCK, arguments)


def _view(device: Device, plane: Any, levels: Any, bits: int) -> tuple[View, View]:
    if bits not in BITS:
        raise ValueError(f"bits is {bits}; codes have {BITS[0]} to {BITS[-1]}.")
    codes, others = device.view("plane", plane), device.view("levels", levels)
    dtype = np.dtype(np.uint8 if bits == 8 else np.uint16)
    if codes.dtype != dtype:
        raise TypeError(f"plane is {codes.dtype}; codes of {bits} bits are {dtype}.")
    if others.dtype not in LEVELS:
        raise TypeError(f"levels is {others.dtype}; it has to be float16 or float32.")
    for view in (codes, others):
        if len(view.shape) != 2:
            raise ValueError(f"{view.name} has shape {view.shape}; it has to be (h, w).")
        if view.strides[-1] != view.dtype.itemsize:
            raise ValueError(f"{view.name} has strides {view.strides}; the elements of a row have to lie side by side.")
        if view.shape[0] > 1 and view.pitch() < view.shape[1]:
            raise ValueError(f"{view.name} has rows {view.pitch()} elements apart; {view.shape[1]} lie in one.")
    return codes, others


def _kernel(name: str, codes: View, levels: View) -> Kernel:
    return Kernel("planes.cu", name, (("SAMPLE", SAMPLES[codes.dtype]), ("LEVEL", LEVELS[levels.dtype])))


def _grid(width: int, height: int) -> tuple[int, int]:
    return -(-width // (BLOCK[0] * RUN)), -(-height // BLOCK[1])


def _max_code(bits: int) -> np.generic:
    return np.float32((1 << bits) - 1)
