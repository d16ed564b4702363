"""SegmentFile: the encoded packets of one segment in a file, as the encoder gave them.

No container holds every codec's packets, side data and exact times, so: a line of text, then for each packet in
decoding order a head (struct _HEAD), its side data (struct _SIDE and bytes, each) and its bytes. There are no decoding
times: the join counts them anew, see Note [Decoding times] of streamsr.jobs.segment_join. What gets lost is the hint that no
other frame needs a packet, which PyAV cannot set; an mp4 then lacks its sdtp box.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from ..errors import SinkError
from .segment_store import Draft

_MAGIC = b"streamsr segment 1\n"
_HEAD = struct.Struct("<qqIBB")  # pts, duration, bytes, whether a key frame, pieces of side data
_MOST_KINDS = 255  # of side data; FFmpeg knows some forty
_SIDE = struct.Struct("<II")  # type, bytes


def write_magic(file: Draft) -> None:
    file.write(_MAGIC)


def write_packet(file: Draft, packet: av.Packet, pts: int, duration: int) -> None:
    """Append a packet; pts and duration in ticks of the source's time base."""
    sides = list(packet.iter_sidedata())
    file.write(_HEAD.pack(pts, duration, packet.size, packet.is_keyframe, len(sides)))
    for side in sides:
        file.write(_SIDE.pack(packet_sidedata_type_from_literal(side.data_type), side.data_size))  # type: ignore[arg-type]
        file.write(bytes(side))
    file.write(bytes(packet))


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _cut_short()
    return data


def _cut_short() -> SinkError:
    return SinkError("A segment's file is damaged.", hint="the same command makes that segment again, --restart all of them")


def read_packets(file: BinaryIO, time_base: Fraction) -> Iterator[av.Packet]:
    """The packets of a parcel, without decoding times. Raises SinkError where it is cut short."""
    if file.read(len(_MAGIC)) != _MAGIC:
        raise SinkError("A segment's file is not one of this version.", hint="--restart makes all of them again")
    while head := file.read(_HEAD.size):
        if len(head) < _HEAD.size:
            raise _cut_short()
        pts, duration, size, is_key, num_sides = _HEAD.unpack(head)
        sides = []
        for _ in range(num_sides):
            kind, length = _SIDE.unpack(_read(file, _SIDE.size))
            data = _read(file, length)
            if not length or kind > _MOST_KINDS:
                raise _cut_short()
            side = PacketSideData(kind, length)  # type: ignore[call-arg]
            side.update(data)
            sides.append(side)
        packet = av.Packet(_read(file, size))
        for side in sides:
            packet.set_sidedata(side)
        packet.pts, packet.duration, packet.time_base = pts, duration, time_base
        packet.is_keyframe = bool(is_key)
        yield packet
