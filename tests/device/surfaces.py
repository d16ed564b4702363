"""Stands for NVDEC and NVENC: FFmpeg's decoder on the CPU, whose pictures are dressed up as surfaces in a GPU's memory, and an encoder."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
from both import planar
from sim_memory import Place
from simulation import SimDevice

from streamsr import libav, side_data
from streamsr.frame import Frame
from streamsr.io.decoding import open_context

_pointer = libav.pointer
side_data.pointer = libav.pointer = lambda held: _pointer(getattr(held, "host", held))  # type: ignore[assignment]

KINDS = {"yuv420p": ("nv12", 0), "yuvj420p": ("nv12", 0), "yuv420p10le": ("p010le", 6)}


class Surface:
    """What `av.VideoFrame` is for a picture on a GPU: words, but no samples unless it is brought to the host."""

    def __init__(self, host: av.VideoFrame) -> None:
        self.__dict__["host"] = host
        kind, shift = KINDS[host.format.name]
        self.__dict__["format"] = SimpleNamespace(name="cuda")
        self.__dict__["sw_format"] = SimpleNamespace(name=kind)
        y, cb, cr = (plane << shift for plane in Frame(host).planes)
        self.__dict__["surface"] = (y, np.stack([cb, cr], axis=2))

    @property
    def planes(self) -> tuple[Any, ...]:
        """As PyAV's: they give their memory on by DLPack, and refuse to be asked for a stream. The host must not read them."""
        return tuple(SurfacePlane(plane) for plane in self.surface)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.host, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.host, name, value)

    def reformat(self, **options: Any) -> av.VideoFrame:
        return self.host.reformat(**options)


class SurfacePlane:
    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples

    def __dlpack__(self) -> Any:
        return self._samples.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._samples.__dlpack_device__()


class Hardware:
    """Stands for the context that `streamsr.io.nvdec.open_hardware` gives.

    fails_at: the packet at which `error` is raised, counted from 0. silent_from: the packet from which on no picture comes.
    """

    is_hwaccel = True

    def __init__(
        self, stream: av.VideoStream, *, fails_at: int | None = None, error: Exception | None = None, silent_from: int | None = None
    ) -> None:  # fmt: skip
        self.context = open_context(stream, stream.codec_context.codec.name)
        self.context.thread_count = 1
        self.fails_at, self.error, self.silent_from = fails_at, error, silent_from
        self.num_packets = 0
        self.surfaces: list[Surface] = []

    def decode(self, packet: av.Packet | None = None) -> list[Any]:
        number, self.num_packets = self.num_packets, self.num_packets + 1
        if number == self.fails_at and self.error is not None:
            raise self.error
        frames = self.context.decode(packet)
        if self.silent_from is not None and number >= self.silent_from:
            return []
        made = [Surface(frame) if frame.format.name in KINDS else frame for frame in frames]
        self.surfaces += [frame for frame in made if isinstance(frame, Surface)]
        return made

    def flush_buffers(self) -> None:
        self.context.flush_buffers()


class Nvenc:
    """Stands for NVENC: holds surfaces back, reads them late, and registers each by its address for as long as it is open.

    delay: frames that it holds. results: copies of what it read.
    """

    def __init__(self, sim: SimDevice, *, delay: int = 4) -> None:
        self.sim, self.delay = sim, delay
        self.held: deque[tuple[av.VideoFrame, list[bytes]]] = deque()
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.results: list[av.VideoFrame] = []

    def encode(self, video: av.VideoFrame) -> None:
        address = video.planes[0].buffer_ptr
        block = next(block for block in self.sim.pool.blocks() if block.memory.ctypes.data == address)
        place = Place(block, block.generation)
        known = self.sim.registered.setdefault(address, place)
        known.check("an encoder")
        shape = (video.width, video.height, video.planes[0].line_size)
        assert self.shapes.setdefault(address, shape) == shape, "what is registered as one surface is another"
        assert len(self.shapes) <= 64, "FFmpeg registers no more"
        self.held.append((video, [bytes(plane) for plane in video.planes]))
        if len(self.held) > self.delay:
            self._read()

    def _read(self) -> None:
        video, planes = self.held.popleft()
        assert [bytes(plane) for plane in video.planes] == planes, "a surface was written over before the encoder had read it"
        self.results.append(planar(video))

    def close(self) -> list[av.VideoFrame]:
        while self.held:
            self._read()
        self.sim.registered.clear()
        return self.results
