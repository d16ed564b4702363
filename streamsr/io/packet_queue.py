"""Packets of the streams beside the video: one thread reads and keeps them, another takes and writes them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av
from av.stream import Disposition

from .decoding import duration_s, packet_seconds
from .pcm import trim_pcm
from .time_line import TimeLine

INTERLEAVE_S = 2  # how far streams of one file may lie apart


class PacketQueue:
    """Holds packets on the output's time line, cut to the range that was asked for, until they are taken in file order."""

    def __init__(self, times: TimeLine, *, is_open_ended: bool) -> None:
        """is_open_ended: the end of the range is known only once the last frame wanted was decoded."""
        self._times = times
        self._is_open_ended = is_open_ended
        self._lock = threading.Lock()  # held while _packets changes
        self._packets: deque[av.Packet] = deque()
        self._reached_s = Fraction(0)  # time of the last frame that was decoded
        self.copied: set[int] = set()  # indexes of the streams whose packets are kept; empty: all

    def choose(self, streams: Iterable[av.stream.Stream]) -> None:
        """Keep packets of these streams alone from now on."""
        with self._lock:
            self.copied = {stream.index for stream in streams}
            self._packets = deque(packet for packet in self._packets if packet.stream_index in self.copied)

    def covers(self) -> dict[int, bytes]:
        """Cover pictures by the index of their stream."""
        with self._lock:
            return {
                packet.stream_index: bytes(packet) for packet in self._packets if packet.stream.disposition & Disposition.attached_pic
            }  # fmt: skip

    def put(self, packet: av.Packet) -> None:
        """Keep a packet of the input if it is in the range and its stream is copied; its times are moved."""
        if not packet.size or (self.copied and packet.stream_index not in self.copied):
            return  # an empty packet is FFmpeg's flush packet
        times = self._times
        if packet.time_base and times.shift:
            ticks = round(times.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        trimmed = trim_pcm(packet, times.start, times.end)
        if trimmed is None:
            return
        seconds = packet_seconds(trimmed)
        # a packet that began before the start is left out whole: half a frame of coded audio cannot be copied
        early = seconds is not None and times.start is not None and seconds < times.start
        late = seconds is not None and times.end is not None and seconds >= times.end
        if not early and not late:
            with self._lock:
                self._packets.append(trimmed)

    def take(self) -> Iterator[av.Packet]:
        """The packets that were kept so far."""
        with self._lock:
            packets, self._packets = self._packets, deque()
            if self._is_open_ended:
                # where the last frame wanted ends is not known yet: what may reach beyond it waits, to be cut there
                held = set[int]()
                ready: deque[av.Packet] = deque()
                for packet in packets:
                    seconds = packet_seconds(packet)
                    if seconds is None or seconds + duration_s(packet) > self._reached_s:
                        held.add(packet.stream_index)
                    (self._packets if packet.stream_index in held else ready).append(packet)
                packets = ready
        yield from packets

    def reach(self, seconds: Fraction) -> None:
        """A frame at this time was decoded."""
        self._reached_s = seconds

    def read_to_end(self, next_packet: Callable[[], av.Packet | None], audio: Iterable[av.stream.Stream], *, video: int) -> None:
        """After the last frame wanted: cut at the end of the range, and read on until `audio` has come to it too, and no further.

        video: index of the stream whose packets are passed over.
        """
        end = self._times.end
        assert end is not None

        def is_late(packet: av.Packet) -> bool:
            seconds = packet_seconds(packet)
            return seconds is not None and seconds >= end

        with self._lock:
            trimmed = [trim_pcm(packet, None, end) for packet in self._packets if not is_late(packet)]
            self._packets = deque(packet for packet in trimmed if packet is not None)
        waiting = {stream.index for stream in audio if stream.index in self.copied}
        while waiting:
            packet = next_packet()
            if packet is None:
                return
            seconds = self._times.of(packet)
            if seconds is not None and seconds >= end + INTERLEAVE_S:
                return
            if packet.stream.index != video:
                self.put(packet)
                if seconds is not None and seconds >= end:
                    waiting.discard(packet.stream.index)

    def end(self) -> None:
        """The last frame wanted was decoded: nothing has to wait for its end."""
        self._is_open_ended = False
