"""Codes as they are: surfaces taken apart and put together, a picture compared with the one before.

Reference: samples_reference.py. Layout and traffic: Note [Samples] of samples.cu.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import launch_device as devices
from .kernel_source import Kernel
from .launch_device import Device, View

SAMPLES = {np.dtype(np.uint8): "u8", np.dtype(np.uint16): "u16"}
BLOCK = (32, 8)
RUN = 8  # samples that a thread moves


def split_surface(surface: Sequence[Any], planes: Sequence[Any], *, shift: int = 0, stream: Any = None) -> None:
    """A decoder's y (h, w) and uv (h', w', 2) into planes Y (h, w), Cb and Cr (h', w').

    surface: uint8 or uint16 in CUDA memory, rows may be padded; shift: unused bits below a code (P010: 6). planes: the same type,
    codes in the low bits, written whole. Raises ValueError and TypeError, RuntimeError without CuPy or a GPU.
    """
    _move("split", surface, planes, shift=shift, stream=stream, is_split=True)


def join_surface(planes: Sequence[Any], surface: Sequence[Any], *, shift: int = 0, stream: Any = None) -> None:
    """Planes Y, Cb, Cr into an encoder's surface: the reverse of `split_surface`; padding is left as it is."""
    _move("join", surface, planes, shift=shift, stream=stream, is_split=False)


def compare_planes(plane: Any, before: Any, samples: Any, differs: Any, *, step: tuple[int, int], stream: Any = None) -> None:
    """Compare a plane with the one before, keep it in its place, and take a sparse sample of it, in one pass.

    plane, before: (h, w), uint8 or uint16. samples: (ceil(h / rows), ceil(w / columns)) for step (rows, columns). differs: (1,) int32,
    0 before: becomes 1 where they differ in any sample. Raises ValueError and TypeError, RuntimeError without CuPy or a GPU.
    """
    with devices.open_device(stream) as device:
        views = [_view(device, name, array) for name, array in (("plane", plane), ("before", before), ("samples", samples))]
        height, width = views[0].shape
        wanted = [(height, width), (height, width), (-(-height // step[0]), -(-width // step[1]))]
        for view, shape in zip(views, wanted, strict=True):
            _check(view, shape, views[0].dtype)
        flag = device.view("differs", differs)
        if flag.dtype != np.int32 or flag.shape != (1,):
            raise TypeError(f"differs is {flag.shape} {flag.dtype}; it has to be (1,) int32.")
        device.launch(
            _kernel("compare", views[0].dtype), _grid(width, height, 1), BLOCK,
            [*_places(views), flag, *(np.int32(number) for number in (width, height, step[1], step[0]))],
        )  # fmt: skip


def _move(name: str, surface: Sequence[Any], planes: Sequence[Any], *, shift: int, stream: Any, is_split: bool) -> None:
    with devices.open_device(stream) as device:
        if (len(surface), len(planes)) != (2, 3):
            raise ValueError(f"{len(surface)} planes of a surface and {len(planes)} others; they have to be 2 and 3.")
        y, uv = (_view(device, f"surface[{index}]", array) for index, array in enumerate(surface))
        parts = [_view(device, f"planes[{index}]", array) for index, array in enumerate(planes)]
        height, width = y.shape
        rows, columns = parts[1].shape
        shapes = ((height, width), (rows, columns, 2), (height, width), (rows, columns), (rows, columns))
        for view, shape in zip((y, uv, *parts), shapes, strict=True):
            _check(view, shape, y.dtype)
        if not 0 <= shift < 8 * y.dtype.itemsize:
            raise ValueError(f"shift is {shift}; {y.dtype} has {8 * y.dtype.itemsize} bits.")
        places = [*_places([y, uv]), *_places(parts)] if is_split else [*_places(parts), *_places([y, uv])]
        numbers = [np.int32(number) for number in (width, height, columns, rows, shift)]
        device.launch(_kernel(name, y.dtype), _grid(width, height, 2), BLOCK, [*places, *numbers])


def _view(device: Device, name: str, array: Any) -> View:
    view = device.view(name, array)
    if view.dtype not in SAMPLES:
        raise TypeError(f"{name} is {view.dtype}; codes are uint8 or uint16.")
    return view


def _check(view: View, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if view.shape != shape or not all(shape):
        raise ValueError(f"{view.name} has shape {view.shape}; it has to be {shape}, and not empty.")
    if view.dtype != dtype:
        raise TypeError(f"{view.name} is {view.dtype}; all have to be {dtype}.")
    inner = (2 * dtype.itemsize, dtype.itemsize) if len(shape) == 3 else (dtype.itemsize,)
    if view.strides[1:] != inner and any(side > 1 for side in shape[1:]):
        raise ValueError(f"{view.name} has strides {view.strides}; the samples of a row have to lie side by side.")


def _places(views: Sequence[View]) -> list[View | np.generic]:
    return [part for view in views for part in (view, view.pitch())]


def _kernel(name: str, dtype: np.dtype) -> Kernel:
    return Kernel("samples.cu", name, (("SAMPLE", SAMPLES[dtype]),))


def _grid(width: int, height: int, layers: int) -> tuple[int, int, int]:
    return -(-width // (BLOCK[0] * RUN)), -(-height // BLOCK[1]), layers
