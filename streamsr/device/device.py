"""Device: all that streamsr asks of CUDA. Implemented on CuPy (streamsr.device.cuda_device) and, for tests, on NumPy (tests/device).

Note [Streams]: everything on a stream runs in the order in which it was put there; streams run side by side. An event stands
for all that was on a stream when it was recorded. Memory that one stream writes and another touches needs an event between
them, and so does memory that the host touches. Nothing else orders anything.

Note [Arrays]: a device array is CuPy's (NumPy's in tests): it has shape, dtype and slices that share its memory. The host
never reads or writes its samples but through `upload` and `download`, whose host side has to be pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import av
import numpy as np
from streamsr_kernels import Filter

from ..upscaling.chroma_grid import Grid
from .frame_plan import ChromaMap

DeviceArray = Any
Tables = dict[Any, Any]  # of streamsr_kernels.Tables: filters on the device


class Stream(Protocol):
    @property
    def ptr(self) -> int:
        """The cudaStream_t, as engines take it."""


class Event(Protocol):
    """A point in a stream."""


class Graph(Protocol):
    """Captured work, which can be launched again and again."""


class Kernels(Protocol):
    """Work on planes, launched on a stream. Planes are codes (h, w), uint8 for 8 bits and uint16 for 9 to 16, in the low bits.

    Nothing here allocates or synchronises, so all of it can be captured in a graph. Rows may be padded.
    """

    def deinterleave(self, surface: Sequence[DeviceArray], planes: Sequence[DeviceArray], *, bits: int, stream: Stream) -> None:
        """A decoder's surface, y (h, w) and uv (h/2, w/2, 2) with the sample in the high bits of uint16, into planes Y, Cb, Cr."""

    def interleave(self, planes: Sequence[DeviceArray], surface: Sequence[DeviceArray], *, bits: int, stream: Stream) -> None:
        """Planes Y, Cb, Cr into an encoder's surface: the reverse of `deinterleave`."""

    def unpack(self, plane: DeviceArray, luma: DeviceArray, *, bits: int, stream: Stream) -> None:
        """Codes (h, w) divided by the largest code, into luma (H, W) of float16 or float32; the last row and column fill H and W."""

    def pack(self, luma: DeviceArray, plane: DeviceArray, *, bits: int, stream: Stream) -> None:
        """The top left (h, w) of luma (H, W) into codes (h, w): rounded half to even, clipped to 0 .. the largest code."""

    def resample_luma(self, plane: DeviceArray, out: DeviceArray, *, bits: int, tables: Tables, stream: Stream) -> None:
        """Lanczos to another size. Agrees with `streamsr.resample.resize_plane` within one code.

        tables: keeps what the kernel reads beside the plane; it has to live as long as a graph of this.
        """

    def resample_chroma(
        self, planes: Sequence[DeviceArray], out: Sequence[DeviceArray], chroma: ChromaMap, *, bits: int, tables: Tables, stream: Stream
    ) -> None:
        """Lanczos with the chroma sample positions given by `chroma`. Agrees with `streamsr.resample.Resampler` within one code."""

    def regrid_chroma(
        self, planes: Sequence[DeviceArray], out: Sequence[DeviceArray], source: Grid, target: Grid, *, kernel: Filter, bits: int,
        tables: Tables, stream: Stream,
    ) -> None:  # fmt: skip
        """Cb and Cr from one grid to another, by linear interpolation or Lanczos.

        Agrees with `streamsr.upscaling.chroma_grid.ChromaResampler` within one code.
        """

    def look(
        self, plane: DeviceArray, before: DeviceArray, samples: DeviceArray, differs: DeviceArray, *, step: tuple[int, int], stream: Stream
    ) -> None:
        """differs (1,) int32: 1 where `plane` is not `before`, else 0; then `before` becomes `plane`. samples: each step-th of it."""


class Device(Protocol):
    """One GPU. Calls come from one thread at a time."""

    name: str  # "cuda:0"
    index: int
    kernels: Kernels

    def open_stream(self) -> Stream: ...

    def record(self, stream: Stream) -> Event:
        """An event for what is on the stream now."""

    def wait(self, stream: Stream, event: Event) -> None:
        """What is put on the stream from now on runs after the event. The host goes on."""

    def is_past(self, event: Event) -> bool: ...

    def synchronise(self, event: Event) -> None:
        """The host waits for the event. Raises EngineError for work that failed on the device."""

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """Memory with anything in it. Raises DeviceMemoryError."""

    def pin(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """Host memory that the device reads and writes on its own. Raises DeviceMemoryError."""

    def upload(self, host: np.ndarray, array: DeviceArray, stream: Stream) -> None: ...

    def download(self, array: DeviceArray, host: np.ndarray, stream: Stream) -> None: ...

    def copy(self, source: DeviceArray, out: DeviceArray, stream: Stream) -> None:
        """Between arrays of one shape on the device."""

    def clear(self, array: DeviceArray, stream: Stream) -> None:
        """Fill with zeros."""

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph:
        """What `work` puts on the stream, as a graph; nothing of it runs. Raises CaptureError where that cannot be."""

    def launch(self, graph: Graph, stream: Stream) -> None: ...

    def import_surface(self, video: av.VideoFrame, stream: Stream) -> tuple[DeviceArray, ...]:
        """The planes of a decoded CUDA frame, without a copy; what is put on `stream` from now on runs after the decoder has finished
        them. They live as long as `video`."""

    def export_surface(self, planes: Sequence[DeviceArray], pix_fmt: str) -> av.VideoFrame:
        """A CUDA frame that owns these planes, for an encoder on this device. pix_fmt: "nv12" or "p010le"."""

    def trim(self) -> None:
        """Give unused memory back to the device."""

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes."""

    def close(self) -> None: ...


class CaptureError(Exception):
    """This work cannot be captured in a graph; it can still be launched as it is."""
