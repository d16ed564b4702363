"""Coverage: whether what was read is all that the input declares: its number of frames, its length, no gap, and no change meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import av

_SHORT_S = 0.5  # that a file may end before its announced end: streams rarely end together
_GAP_S = 0.5  # between two pictures of a stream of segments or packets, beside a few frames
_GAP_FRAMES = 5
_SEGMENTED = ("hls", "mpegts", "mpeg", "flv")  # a piece that did not arrive leaves no other mark


class Coverage:
    """Watches the packets of one input."""

    def __init__(self, url: str, container: av.container.InputContainer, stream: av.VideoStream, *, video_alone: bool = False) -> None:
        self.num_video_packets = 0
        self.is_at_end = False  # everything was read
        self._url, self._index = url, stream.index
        self._format = container.format.name
        self._promised_frames = stream.frames
        self._frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
        self._begin = _describe(url)
        self._begin_s = begin_s = (container.start_time or 0) / av.time_base
        length_s = (container.duration or 0) / av.time_base
        self._promised_end_s = begin_s + length_s if length_s > 0 else None
        # the announced length is that of the longest stream: where only the video is read, it may be shorter
        self._short_s = 1 + length_s / 10 if video_alone else _SHORT_S
        self._last_s: float | None = None  # the newest decoding time of the video
        self._end_s: float | None = None  # the latest end of any packet
        self._gaps: list[tuple[float, float]] = []  # (where, how long), in seconds

    def see(self, packet: av.Packet) -> None:
        """Take note of a packet, in file order."""
        time = packet.dts if packet.dts is not None else packet.pts
        is_video = packet.stream_index == self._index
        self.num_video_packets += is_video and packet.size > 0
        if time is None or packet.time_base is None or not packet.size:
            return
        at_s = float(time * packet.time_base)
        end_s = at_s + min(float((packet.duration or 0) * packet.time_base), 10.0)
        self._end_s = end_s if self._end_s is None else max(self._end_s, end_s)
        if is_video:
            if self._last_s is not None and at_s - self._last_s > _GAP_S + _GAP_FRAMES * self._frame_s:
                self._gaps.append((self._last_s, at_s - self._last_s))
            self._last_s = at_s

    def changes(self) -> list[str]:
        """Messages about changes of the file while it was read."""
        end = _describe(self._url)
        if self._begin is None or end is None or self._begin == end:
            return []
        if self._begin[0] != end[0]:
            return [f"the input changed while it was read: it had {self._begin[0]} bytes, now {end[0]}"]
        return ["the input was written to while it was read"]

    def shortfalls(self, *, restarts: bool = False) -> list[str]:
        """Messages about declared properties of the input that did not hold. restarts: its clock was continued, so times do not count."""
        words = []
        share = 0.9 if self._format == "avi" else 1  # an AVI counts its empty packets too
        if 0 < self.num_video_packets < share * self._promised_frames:
            words.append(f"the input announces {self._promised_frames} frames, but contains {self.num_video_packets}")
        if restarts:
            return words
        end_s, promised_s = self._end_s, self._promised_end_s
        if not words and end_s is not None and promised_s is not None and end_s < promised_s - self._short_s:
            words.append(f"the input ends early: at {end_s - self._begin_s:.2f} s, {promised_s - self._begin_s:.2f} s were announced")
        if self._gaps and self._format in _SEGMENTED:
            total_s, at_s = sum(gap for _, gap in self._gaps), self._gaps[0][0] - self._begin_s
            words.append(f"the input has gaps: {len(self._gaps)} of {total_s:.2f} s together, the first at {at_s:.2f} s")
        return words


def _describe(url: str) -> tuple[int, int] | None:
    """(bytes, time of the last change) of a plain file."""
    if url == "-" or not Path(url).is_file():
        return None
    facts = os.stat(url)
    return facts.st_size, facts.st_mtime_ns
