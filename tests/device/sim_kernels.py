"""The kernels of the simulated GPU: the arithmetic of the pipeline on a CPU, so that results can be the same, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from sim_memory import bare
from streamsr_kernels import Filter

from streamsr.device.frame_plan import ChromaMap
from streamsr.frame import Frame
from streamsr.libav import picture_of
from streamsr.resample import Resampler, resize_plane
from streamsr.upscaling.chroma_grid import ChromaResampler, Grid

if TYPE_CHECKING:
    from simulation import SimDevice, SimStream

SITES = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")  # AVChromaLocation


class CpuKernels:
    """Implements `streamsr.device.device.Kernels`."""

    def __init__(self, device: SimDevice) -> None:
        self._device = device

    def deinterleave(self, surface: Sequence[np.ndarray], planes: Sequence[np.ndarray], *, bits: int, stream: SimStream) -> None:
        (y, uv), parts = map(bare, surface), [bare(plane) for plane in planes]

        def run() -> None:
            for plane, samples in zip(parts, (y, uv[..., 0], uv[..., 1]), strict=True):
                plane[:] = samples >> (0 if bits == 8 else 16 - bits)

        self._device.put(stream, "deinterleave", run, reads=surface, writes=planes)

    def interleave(self, planes: Sequence[np.ndarray], surface: Sequence[np.ndarray], *, bits: int, stream: SimStream) -> None:
        (y, uv), parts = map(bare, surface), [bare(plane) for plane in planes]

        def run() -> None:
            for plane, samples in zip(parts, (y, uv[..., 0], uv[..., 1]), strict=True):
                samples[:] = plane << (0 if bits == 8 else 16 - bits)

        self._device.put(stream, "interleave", run, reads=planes, writes=surface)

    def unpack(self, plane: np.ndarray, luma: np.ndarray, *, bits: int, stream: SimStream) -> None:
        given, made = bare(plane), bare(luma)

        def run() -> None:
            rows, columns = (large - small for large, small in zip(made.shape, given.shape, strict=True))
            made[:] = np.pad(given, ((0, rows), (0, columns)), mode="edge") / np.float32((1 << bits) - 1)

        self._device.put(stream, "unpack", run, reads=[plane], writes=[luma])

    def pack(self, luma: np.ndarray, plane: np.ndarray, *, bits: int, stream: SimStream) -> None:
        given, made = bare(luma), bare(plane)

        def run() -> None:
            most = np.float32((1 << bits) - 1)
            made[:] = np.clip(np.rint(given[: made.shape[0], : made.shape[1]].astype(np.float32) * most), 0, most)

        self._device.put(stream, "pack", run, reads=[luma], writes=[plane])

    def resample_luma(self, plane: np.ndarray, out: np.ndarray, *, bits: int, tables: Any, stream: SimStream) -> None:
        given, made = bare(plane), bare(out)

        def run() -> None:
            resize_plane(given, made.shape[1], made.shape[0], bits=bits, out=made)

        self._device.put(stream, "resample luma", run, reads=[plane], writes=[out])

    def resample_chroma(
        self, planes: Sequence[np.ndarray], out: Sequence[np.ndarray], chroma: ChromaMap, *, bits: int, tables: Any, stream: SimStream
    ) -> None:
        given, made = [bare(plane) for plane in planes], [bare(plane) for plane in out]

        def run() -> None:
            sampling = {(1, 1): "420", (1, 0): "422", (0, 0): "444", (0, 1): "440", (2, 0): "411", (2, 2): "410"}[chroma.log2]
            video = av.VideoFrame(*chroma.source, f"yuv{sampling}p" + ("" if bits == 8 else f"{bits}le"))
            picture_of(video).chroma_location = SITES.index(chroma.location)
            for plane, samples in zip(Frame(video).planes, (0, *given), strict=True):
                plane[:] = samples
            for plane, samples in zip(made, Frame(Resampler(*chroma.target)(video)).planes[1:], strict=True):
                plane[:] = samples

        self._device.put(stream, "resample chroma", run, reads=planes, writes=out)

    def regrid_chroma(
        self, planes: Sequence[np.ndarray], out: Sequence[np.ndarray], source: Grid, target: Grid, *, kernel: Filter, bits: int,
        tables: Any, stream: SimStream,
    ) -> None:  # fmt: skip
        given, made = [bare(plane) for plane in planes], [bare(plane) for plane in out]

        def run() -> None:
            resampler = ChromaResampler(kernel)
            for plane, samples in zip(made, resampler(np.stack(given), source, target, made[0].shape, bits=bits), strict=True):
                plane[:] = samples

        self._device.put(stream, "regrid chroma", run, reads=planes, writes=out)

    def look(
        self, plane: np.ndarray, before: np.ndarray, samples: np.ndarray, differs: np.ndarray, *, step: tuple[int, int], stream: SimStream
    ) -> None:
        given, kept, sparse, flag = map(bare, (plane, before, samples, differs))

        def run() -> None:
            flag[0] = not np.array_equal(given, kept)
            kept[:] = given
            sparse[:] = given[:: step[0], :: step[1]]

        self._device.put(stream, "look", run, reads=[plane], writes=[before, samples, differs])
