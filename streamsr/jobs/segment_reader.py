"""Reading: the frames of one segment after another, each exactly as a decoder that ran from the beginning gives it.

Where a segment follows the last one, the decoder goes on. Else it starts at the nearest key frame before the segment; if
what comes then is not the first frame, whole and with the neighbours that a deinterlacer needs, it starts further back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av

from ..io.source import Source, Window
from ..options import SourceOptions
from .segment_plan import Segment

_RUN_IN = 2  # interlaced frames to decode before the first one wanted; bwdif looks at one


@dataclass(slots=True)
class Part:
    """A segment while it is read."""

    segment: Segment
    num_decoded: int = 0
    num_deinterlaced: int = 0
    num_errors: int = 0  # of the decoder, also in packets around the segment
    is_read: bool = False  # to its end


class Reading:
    """Frames of segments of one input. `owners` gives the part that each decoded frame belongs to."""

    def __init__(self, url: str, options: SourceOptions, *, warmup: int = 0, aspect: Fraction | None = None) -> None:
        """aspect: width to height of the video's first picture, as it is shown."""
        self.url, self.options, self.warmup, self.aspect = url, options, warmup, aspect
        self.owners: deque[Part | None] = deque()  # None: a frame that only warms up the network
        self.parts: list[Part] = []
        self._source: Source | None = None
        self._frames: Iterator[av.VideoFrame] = iter(())
        self._next: av.VideoFrame | None = None  # decoded, of the segment to come; None at the end of the video
        self._is_deinterlaced = False  # the frame in _next
        self._number = -1  # of the last segment read
        self._num_told = 0  # errors of this decoder that are in some part

    def frames(self, segments: Iterable[Segment]) -> Iterator[av.VideoFrame]:
        """Decode these segments. Raises SourceError."""
        for segment in segments:
            part = Part(segment)
            self.parts.append(part)
            if not self._goes_on(segment):
                self._start(segment)
            assert self._source is not None
            while (frame := self._next) is not None and (segment.end is None or _pts(frame) < segment.end):
                is_inside = segment.number == 0 or _pts(frame) >= segment.first
                if is_inside:
                    part.num_decoded += 1
                    part.num_deinterlaced += self._is_deinterlaced
                if is_inside or _pts(frame) >= segment.warm:
                    self.owners.append(part if is_inside else None)
                    yield frame
                self._pull()
            part.num_errors = self._source.count.num_corrupt_packets - self._num_told
            self._num_told += part.num_errors
            part.is_read = True
            self._number = segment.number

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _goes_on(self, segment: Segment) -> bool:
        """Whether the open decoder gets to the segment without a detour."""
        if self._source is None:
            return False
        if segment.number == self._number + 1 and not self.warmup:
            return True
        ahead = self._next is not None and segment.number > self._number and _pts(self._next) <= segment.warm
        return ahead and self._next is not None and (not segment.keys or segment.keys[0] <= _pts(self._next))

    def _start(self, segment: Segment) -> None:
        for key in (*segment.keys, None):
            self.close()
            self._num_told = 0
            self._source = Source(self.url, self.options, window=Window(key, segment.warm if segment.number else None, self.aspect))
            self._frames = self._source.frames()
            self._pull()
            if key is None or self._is_audio(segment):
                return

    def _is_audio(self, segment: Segment) -> bool:
        assert self._source is not None
        if self._next is None or self._next.pts != segment.warm or self._next.is_corrupt:
            return False
        needs_fields = self.options.deinterlace == "on" or (self.options.deinterlace == "auto" and self._source.interlaced)
        return not needs_fields or self._source.num_run_in >= _RUN_IN

    def _pull(self) -> None:
        assert self._source is not None
        before = self._source.count.num_deinterlaced
        self._next = next(self._frames, None)
        self._is_deinterlaced = self._source.count.num_deinterlaced > before


def _pts(frame: av.VideoFrame) -> int:
    assert frame.pts is not None  # a Source sets it
    return frame.pts
