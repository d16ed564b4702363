"""CupyKernels: streamsr.device.device.Kernels on the CUDA kernels of streamsr_kernels. CuPy's own need CUDA's headers and are unused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from streamsr_kernels import Filter, chroma_site, compare_planes, join_surface, pack, resample, split_surface, unpack

from ..upscaling.chroma_grid import Grid, place_on
from .device import DeviceArray, Tables
from .frame_plan import ChromaMap


class CupyKernels:
    """on: makes the device current while something is launched, and raises failures as streamsr's errors. clear: `Device.clear`."""

    def __init__(self, on: AbstractContextManager[Any], clear: Callable[[DeviceArray, Any], None]) -> None:
        self._on, self._clear = on, clear

    def deinterleave(self, surface: Sequence[DeviceArray], planes: Sequence[DeviceArray], *, bits: int, stream: Any) -> None:
        with self._on:
            split_surface(surface, planes, shift=_shift(bits), stream=stream)

    def interleave(self, planes: Sequence[DeviceArray], surface: Sequence[DeviceArray], *, bits: int, stream: Any) -> None:
        with self._on:
            join_surface(planes, surface, shift=_shift(bits), stream=stream)

    def unpack(self, plane: DeviceArray, luma: DeviceArray, *, bits: int, stream: Any) -> None:
        with self._on:
            unpack(plane, luma, bits=bits, stream=stream)

    def pack(self, luma: DeviceArray, plane: DeviceArray, *, bits: int, stream: Any) -> None:
        height, width = plane.shape
        with self._on:
            pack(luma[:height, :width], plane, bits=bits, stream=stream)

    def resample_luma(self, plane: DeviceArray, out: DeviceArray, *, bits: int, tables: Tables, stream: Any) -> None:
        with self._on:
            resample(plane, out, bits=bits, tables=tables, stream=stream)

    def resample_chroma(
        self, planes: Sequence[DeviceArray], out: Sequence[DeviceArray], chroma: ChromaMap, *, bits: int, tables: Tables, stream: Any
    ) -> None:
        site = chroma_site(chroma.location, chroma.log2)
        with self._on:
            for plane, target in zip(planes, out, strict=True):
                resample(plane, target, bits=bits, site=site, extent=chroma.extent, tables=tables, stream=stream)

    def regrid_chroma(
        self, planes: Sequence[DeviceArray], out: Sequence[DeviceArray], source: Grid, target: Grid, *, kernel: Filter, bits: int,
        tables: Tables, stream: Any,
    ) -> None:  # fmt: skip
        down, across = (place_on(source[axis], target[axis], planes[0].shape[axis], out[0].shape[axis]) for axis in (0, 1))
        site = (across[0] + 128) / 256, (down[0] + 128) / 256
        with self._on:
            for plane, made in zip(planes, out, strict=True):
                resample(
                    plane, made, bits=bits, kernel=kernel, out_site=site,
                    extent=(across[1], down[1]), added=(across[2], down[2]), tables=tables, stream=stream,
                )  # fmt: skip

    def look(
        self, plane: DeviceArray, before: DeviceArray, samples: DeviceArray, differs: DeviceArray, *, step: tuple[int, int], stream: Any
    ) -> None:
        with self._on:
            self._clear(differs, stream)
            compare_planes(plane, before, samples, differs, step=step, stream=stream)


def _shift(bits: int) -> int:
    """Unused bits below a code of a surface: 6 in P010."""
    return 0 if bits == 8 else 16 - bits
