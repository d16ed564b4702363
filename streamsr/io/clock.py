"""Clock: one that goes on where the clock of a broadcast stream starts anew, as after a splice or in files put one behind another.

Note [Restarts]: each stream of audio and video is watched by itself, by its decoding times. A step back by more than BACK_S, or forth by
more than FORTH_S, is a restart (FFmpeg's own program takes the same numbers). Packets are then held until the other streams have
restarted too, at most MAX_HELD of them, and the new stretch begins at the earliest time at which no stream steps back: what
belongs together stays together, and nothing overlaps. A recording that really paused for longer than FORTH_S loses the pause, as it
does in FFmpeg.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

import av

BACK_S, FORTH_S = Fraction(1, 10), Fraction(10)
MAX_HELD = 1000
_STEADY = ("video", "audio")


class Clock:
    """Moves the times of packets in place, in file order."""

    def __init__(self) -> None:
        self.restarts: list[Fraction] = []  # when, on the clock that goes on
        self._offset_s = Fraction(0)  # added in the present stretch
        self._due_s: dict[int, Fraction] = {}  # when the next packet of each steady stream is due, on the clock that goes on
        self._newest_s: dict[int, Fraction] = {}  # the latest decoding time of each in the present stretch

    def carry_on(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """The same packets on the clock that goes on."""
        held: list[tuple[av.Packet, bool]] = []  # and whether it is in the new stretch
        restarted: dict[int, Fraction] = {}  # by stream: its first time in the new stretch, on the input's clock
        for packet in packets:
            time_s, number = _decoding_s(packet), packet.stream_index
            if time_s is not None and number not in restarted and self._restarts(number, time_s):
                restarted[number] = time_s
            if not restarted:
                self._move(packet, self._offset_s)
                yield packet
                continue
            held.append((packet, number in restarted))
            if restarted.keys() == self._due_s.keys() or len(held) >= MAX_HELD:
                yield from self._begin_stretch(held, restarted)
                held, restarted = [], {}
        if restarted:
            yield from self._begin_stretch(held, restarted)

    def _restarts(self, number: int, time_s: Fraction) -> bool:
        newest_s = self._newest_s.get(number)
        return newest_s is not None and not -BACK_S <= time_s + self._offset_s - newest_s <= FORTH_S

    def _begin_stretch(self, held: Iterable[tuple[av.Packet, bool]], restarted: Mapping[int, Fraction]) -> Iterator[av.Packet]:
        for packet, is_new in held:
            if packet.stream.type in _STEADY and not is_new:
                self._move(packet, self._offset_s)
        before_s, self._offset_s = self._offset_s, max(self._due_s[number] - time_s for number, time_s in restarted.items())
        self.restarts.append(min(time_s + self._offset_s for time_s in restarted.values()))
        for number in restarted:
            del self._newest_s[number]
        for packet, is_new in held:
            time_s = _decoding_s(packet)
            if is_new:
                self._move(packet, self._offset_s)
            elif packet.stream.type not in _STEADY and time_s is not None:  # subtitles and data go where they fit
                fits = min(before_s, self._offset_s, key=lambda offset_s: abs(time_s + offset_s - self.restarts[-1]))
                self._move(packet, fits)
            yield packet

    def _move(self, packet: av.Packet, offset_s: Fraction) -> None:
        time_s = _decoding_s(packet)
        if time_s is None:
            return
        if packet.stream.type in _STEADY:
            number, now_s = packet.stream_index, time_s + offset_s
            self._newest_s[number] = max(self._newest_s.get(number, now_s), now_s)
            self._due_s[number] = max(self._due_s.get(number, now_s), now_s + (packet.duration or 0) * packet.time_base)
        if offset_s:
            ticks = round(offset_s / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks


def _decoding_s(packet: av.Packet) -> Fraction | None:
    time = packet.dts if packet.dts is not None else packet.pts
    return time * packet.time_base if time is not None and packet.size and packet.time_base else None
