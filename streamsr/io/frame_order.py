"""Frame order: the time that belongs to each picture, in containers that date packets in decoding order (AVI, old QuickTime, MPEG-1).

The decoder brings pictures in the order in which they are shown, there with times that are the right ones, but for other places. So
each picture gets the earliest time of those that are within the codec's reordering.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av

from ..frame import is_on_device

_MAX_REORDER, _MAX_SURFACES = 16, 2  # frames that wait for their times: the longest row of B-frames; a GPU's decoder has few to spare


class FrameOrder:
    """Of one video stream. Call it with each packet before that is decoded."""

    def __init__(self, stream: av.VideoStream, time_base: Fraction) -> None:
        self._context, self._time_base = stream.codec_context, time_base
        self._newest_pts = -(1 << 63)
        self._is_dated_by_display = False  # a packet is shown before the one before it, so their times are those of display

    def see(self, packet: av.Packet) -> None:
        if packet.pts is not None:
            self._is_dated_by_display |= packet.pts < self._newest_pts
            self._newest_pts = packet.pts

    def put(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """The frames, each with the time of its place, in ticks of the stream's time base; one without a time stays so."""
        waiting: deque[av.VideoFrame] = deque()
        times: list[int] = []

        def next_frame() -> av.VideoFrame:
            frame = waiting.popleft()
            if frame.pts is not None:
                frame.pts = heapq.heappop(times)
            return frame

        for frame in frames:
            if frame.time_base and frame.pts is not None and frame.time_base != self._time_base:
                frame.pts = round(frame.pts * frame.time_base / self._time_base)
            frame.time_base = self._time_base
            waiting.append(frame)
            if frame.pts is not None:
                heapq.heappush(times, frame.pts)
            while len(waiting) > self._depth(frame):
                yield next_frame()
        while waiting:
            yield next_frame()

    def _depth(self, frame: av.VideoFrame) -> int:
        """How many frames wait for a time that belongs before theirs."""
        depth = self._context.reorder_depth
        if depth and not self._is_dated_by_display:
            depth = _MAX_REORDER
        return min(depth, _MAX_SURFACES if is_on_device(frame) else _MAX_REORDER)
