"""Stands for NVDEC: FFmpeg's decoder on the CPU, whose pictures are dressed up as surfaces in a GPU's memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import av
import numpy as np

from streamsr import side_data
from streamsr.frame import Frame
from streamsr.io.decoding import open_context

_pointer = side_data.pointer
side_data.pointer = lambda held: _pointer(getattr(held, "host", held))  # type: ignore[assignment]

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

    def __getattr__(self, name: str) -> Any:
        assert name != "planes", "the samples of a surface were asked for on the host"
        return getattr(self.host, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.host, name, value)

    def reformat(self, **options: Any) -> av.VideoFrame:
        return self.host.reformat(**options)


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
