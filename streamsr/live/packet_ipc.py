"""EncodedPacket: an encoded packet without FFmpeg's objects, and its form in a pipe."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av

_HEAD = struct.Struct("<BBqqqIII")  # stream, key, pts, dts, duration, time base, bytes


@dataclass(slots=True)
class EncodedPacket:
    """One encoded packet; it outlives encoder and muxer, and can go to another process."""

    stream: int  # index in the header, 0 for the video
    data: bytes
    pts: int
    dts: int
    duration: int
    time_base: Fraction
    is_key: bool
    arrived: float | None = None  # of a new picture: when its packet had been read, monotonic seconds

    def pack(self) -> bytes:
        """The packet as it goes through a pipe."""
        base = self.time_base
        head = _HEAD.pack(self.stream, self.is_key, self.pts, self.dts, self.duration, base.numerator, base.denominator, len(self.data))
        return head + self.data


def unpack(pipe: BinaryIO) -> Iterator[tuple[int, av.Packet]]:
    """(index of the stream, packet) for all parcels in a pipe, until its end."""
    while True:
        head = pipe.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return
        stream, key, pts, dts, duration, numerator, denominator, size = _HEAD.unpack(head)
        data = pipe.read(size)
        if len(data) < size:
            return
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, bool(key)
        packet.time_base = Fraction(numerator, denominator)
        yield stream, packet
