"""CupyKernels: streamsr.device.device.Kernels on the CUDA kernels of streamsr_kernels, and CuPy's own for plain copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamsr_kernels import chroma_site, pack, resample, unpack

from .device import DeviceArray
from .frame_plan import ChromaMap


class CupyKernels:
    """cupy: the module. on: its device, which is current while something is launched."""

    def __init__(self, cupy: Any, on: Any) -> None:
        self._cupy, self._on = cupy, on
        self._differ = cupy.ReductionKernel("T x, T y", "int32 z", "x != y", "a | b", "z = a", "0", "streamsr_differ")

    def deinterleave(self, surface: Sequence[DeviceArray], planes: Sequence[DeviceArray], *, bits: int, stream: Any) -> None:
        y, uv = surface
        with self._on, stream:
            for samples, plane in zip((y, uv[..., 0], uv[..., 1]), planes, strict=True):
                if bits == 8:
                    self._cupy.copyto(plane, samples)
                else:
                    self._cupy.right_shift(samples, plane.dtype.type(16 - bits), out=plane)  # a plain int may be taken for int64

    def interleave(self, planes: Sequence[DeviceArray], surface: Sequence[DeviceArray], *, bits: int, stream: Any) -> None:
        y, uv = surface
        with self._on, stream:
            for plane, samples in zip(planes, (y, uv[..., 0], uv[..., 1]), strict=True):
                if bits == 8:
                    self._cupy.copyto(samples, plane)
                else:
                    self._cupy.left_shift(plane, plane.dtype.type(16 - bits), out=samples)

    def unpack(self, plane: DeviceArray, luma: DeviceArray, *, bits: int, stream: Any) -> None:
        height, width = plane.shape
        unpack([plane], _planar(bits), out=[luma[:height, :width]], stream=stream)
        with self._on, stream:
            if luma.shape[1] > width:
                self._cupy.copyto(luma[:height, width:], luma[:height, width - 1 : width])
            if luma.shape[0] > height:
                self._cupy.copyto(luma[height:], luma[height - 1 : height])

    def pack(self, luma: DeviceArray, plane: DeviceArray, *, bits: int, stream: Any) -> None:
        height, width = plane.shape
        pack([luma[:height, :width]], _planar(bits), out=[plane], stream=stream)

    def resample_luma(self, plane: DeviceArray, out: DeviceArray, *, bits: int, stream: Any) -> None:
        resample(plane, out, bits=bits, stream=stream)

    def resample_chroma(
        self, planes: Sequence[DeviceArray], out: Sequence[DeviceArray], chroma: ChromaMap, *, bits: int, stream: Any
    ) -> None:
        site = chroma_site(chroma.location, chroma.log2)
        for plane, target in zip(planes, out, strict=True):
            resample(plane, target, bits=bits, site=site, extent=chroma.extent, stream=stream)

    def look(
        self, plane: DeviceArray, before: DeviceArray, samples: DeviceArray, differs: DeviceArray, *, step: tuple[int, int], stream: Any
    ) -> None:
        with self._on, stream:
            self._differ(plane, before, differs.reshape(()))
            self._cupy.copyto(before, plane)
            self._cupy.copyto(samples, plane[:: step[0], :: step[1]])


def _planar(bits: int) -> str:
    """A pixel format with planes of such codes; luma lies the same in all of them."""
    return "yuv420p" if bits == 8 else f"yuv420p{bits}le"
