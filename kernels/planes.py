"""A decoder's surface <-> planes of levels for the network: level = code / (2^bits - 1), limited or full range alike.

Nothing but the number changes: no matrix, no stretch of the range, and chroma stays at its site and its size. Reference:
planes_reference.py. Layout and traffic: Note [Planes] of planes.cu.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import launch_device as devices
from .kernel_source import Kernel
from .launch_device import Device, View
from .surface import Surface, find_surface

LEVELS = {np.dtype(np.float16): "half", np.dtype(np.float32): "float"}
SAMPLES = {np.dtype(np.uint8): "u8", np.dtype(np.uint16): "u16"}
BLOCK = (32, 8)
RUN = 8  # samples that a thread moves


def unpack(surface: Sequence[Any], pix_fmt: str, *, out: Sequence[Any] | None = None, stream: Any = None) -> tuple[Any, ...]:
    """A surface's codes as levels in [0, 1].

    surface: the planes of `pix_fmt` (`find_surface`) in CUDA memory, uint8 or uint16: Y (h, w) and chroma (h', w', 2), or Y, Cb
        and Cr; rows may be padded. Or Y alone, where only luma is wanted.
    out: Y, Cb and Cr, (..., h, w) each with leading ones, float16 or float32, rows may be padded; written whole. Default: new
        CuPy arrays, float16.
    Half precision holds 8 and 10 bits exactly; of 12 and more it keeps the 11 leading ones.
    Returns `out`. Raises ValueError for wrong shapes or strides, TypeError for wrong types, RuntimeError without CuPy or a GPU.
    """
    layout = find_surface(pix_fmt)
    with devices.open_device(stream) as device:
        planes = _view_surface(device, surface, layout)
        shapes = _level_shapes(planes, layout)
        fresh = [] if out is not None else [device.empty("levels", shape, np.float16) for shape in shapes]
        levels = fresh or _view_levels(device, "out", out or [], shapes)
        for samples, targets in _pairs(planes, levels):
            height, width = samples.shape[:2]
            device.launch(
                _kernel("unpack", samples, targets),
                _grid(width, height),
                BLOCK,
                [samples, samples.pitch(), *_addresses(targets), np.int32(width), np.int32(height), *_scale(layout)],
            )
        return tuple(level.array for level in levels) if out is None else tuple(out)


def pack(planes: Sequence[Any], pix_fmt: str, *, out: Sequence[Any] | None = None, stream: Any = None) -> tuple[Any, ...]:
    """Levels as a surface's codes: level * (2^bits - 1), rounded half to even and clipped; what is not a number becomes 0.

    planes: Y, Cb and Cr, or Y alone: (..., h, w) each with leading ones, float16 or float32 in CUDA memory.
    out: the planes of `pix_fmt`, as `unpack` reads them; padding is left as it is. Default: new CuPy arrays.
    Returns `out`. Raises as `unpack` does.
    """
    layout = find_surface(pix_fmt)
    with devices.open_device(stream) as device:
        levels = [device.view(f"planes[{index}]", plane) for index, plane in enumerate(planes)]
        if len(levels) not in (1, 3):
            raise ValueError(f"planes holds {len(levels)} arrays; give Y alone, or Y, Cb and Cr.")
        if levels[0].array.ndim < 2:
            raise ValueError(f"planes[0] has shape {levels[0].shape}; it has to be (..., h, w).")
        height, width = levels[0].shape[-2:]
        shapes = layout.plane_shapes(width, height)[: 1 if len(levels) == 1 else 3]
        fresh = [] if out is not None else [device.empty("surface", shape, layout.dtype) for shape in shapes]
        surface = fresh or _view_surface(device, out or [], layout)
        if [view.shape for view in surface] != list(shapes):
            raise ValueError(f"out has shapes {[view.shape for view in surface]}; {layout.name} of this picture has {list(shapes)}.")
        levels = _view_levels(device, "planes", planes, _level_shapes(surface, layout))
        for samples, sources in _pairs(surface, levels):
            height, width = samples.shape[:2]
            device.launch(
                _kernel("pack", samples, sources),
                _grid(width, height),
                BLOCK,
                [*_addresses(sources), samples, samples.pitch(), np.int32(width), np.int32(height), *_scale(layout)],
            )
        return tuple(view.array for view in surface) if out is None else tuple(out)


def _view_surface(device: Device, planes: Sequence[Any], layout: Surface) -> list[View]:
    """The planes of a surface, checked."""
    views = [device.view(f"plane {index} of {layout.name}", plane) for index, plane in enumerate(planes)]
    whole = 2 if layout.interleaved else 3
    if len(views) not in (1, whole):
        raise ValueError(f"{layout.name} has {whole} planes; {len(views)} came. Give them all, or luma alone.")
    if len(views[0].shape) != 2:
        raise ValueError(f"{views[0].name} has shape {views[0].shape}; it has to be (h, w).")
    height, width = views[0].shape
    for view, shape in zip(views, layout.plane_shapes(width, height), strict=False):
        if view.shape != shape:
            raise ValueError(f"{view.name} has shape {view.shape}; a picture of {width}x{height} has {shape} there.")
        if view.dtype != layout.dtype:
            raise TypeError(f"{view.name} is {view.dtype}; it has to be {layout.dtype}.")
        _check_rows(view, width=int(np.prod(shape[1:])))
        if len(shape) == 3 and view.strides[1] != 2 * view.dtype.itemsize:
            raise ValueError(f"{view.name} has strides {view.strides}; Cb and Cr have to lie side by side.")
    return views


def _view_levels(device: Device, name: str, planes: Sequence[Any], shapes: Sequence[tuple[int, int]]) -> list[View]:
    """Planes of levels as (h, w), checked."""
    if len(planes) != len(shapes):
        raise ValueError(f"{name} holds {len(planes)} arrays; {len(shapes)} are needed.")
    views = []
    for index, (plane, shape) in enumerate(zip(planes, shapes, strict=True)):
        view = device.view(f"{name}[{index}]", plane)
        if view.shape[-2:] != shape or any(side != 1 for side in view.shape[:-2]):
            raise ValueError(f"{view.name} has shape {view.shape}; it has to be (..., {shape[0]}, {shape[1]}) with leading ones.")
        if view.dtype not in LEVELS:
            raise TypeError(f"{view.name} is {view.dtype}; levels are float16 or float32.")
        flat = View(view.name, view.pointer, view.shape[-2:], view.strides[-2:], view.dtype, view.array)
        _check_rows(flat, width=shape[1])
        views.append(flat)
    if len({view.dtype for view in views}) > 1:
        raise TypeError(f"{name} mixes {', '.join(str(view.dtype) for view in views)}; one type for all planes.")
    return views


def _check_rows(view: View, *, width: int) -> None:
    """Elements of a row lie side by side, and rows do not overlap."""
    if view.strides[-1] != view.dtype.itemsize:
        raise ValueError(f"{view.name} has strides {view.strides}; the elements of a row have to lie side by side.")
    if view.shape[0] > 1 and view.pitch() < width:
        raise ValueError(f"{view.name} has rows {view.pitch()} elements apart; {width} lie in one.")


def _level_shapes(planes: Sequence[View], layout: Surface) -> list[tuple[int, int]]:
    """(h, w) of Y, Cb and Cr, or of Y alone."""
    height, width = planes[0].shape
    if len(planes) == 1:
        return [(height, width)]
    chroma = layout.plane_shapes(width, height)[1]
    return [(height, width), (chroma[0], chroma[1]), (chroma[0], chroma[1])]


def _pairs(planes: Sequence[View], levels: Sequence[View]) -> list[tuple[View, Sequence[View]]]:
    """Each plane of samples with the planes of levels that it holds; empty ones left out."""
    groups = [levels[:1], levels[1:]] if len(planes) == 2 else [[level] for level in levels]
    return [(plane, group) for plane, group in zip(planes, groups, strict=True) if all(plane.shape)]


def _kernel(name: str, samples: View, levels: Sequence[View]) -> Kernel:
    macros = (("SAMPLE", SAMPLES[samples.dtype]), ("LEVEL", LEVELS[levels[0].dtype]), ("CHANNELS", len(levels)))
    return Kernel("planes.cu", name, macros)


def _addresses(levels: Sequence[View]) -> list[View | np.generic]:
    """First and second plane and their pitches; where there is one, it stands for both."""
    first, second = levels[0], levels[-1]
    return [first, first.pitch(), second, second.pitch()]


def _grid(width: int, height: int) -> tuple[int, int]:
    return -(-width // (BLOCK[0] * RUN)), -(-height // BLOCK[1])


def _scale(layout: Surface) -> list[np.generic]:
    return [np.int32(layout.shift), np.float32(layout.max_code)]
