"""Moments: single frames of a video at chosen times, without reading the frames between."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from ..options import SourceOptions
from .source import Source

_EARLIER = Fraction(2, 5)  # of a frame: clocks round, and the frame itself must not be left out


def origin_of(source: Source) -> Fraction:
    """Where the input begins, in seconds on the time line of its frames."""
    return Fraction(0) if source.is_broadcast else Fraction(source.container.start_time or 0, av.time_base)


def read_at(
    url: str | Path, time_s: float, *, origin: Fraction, rate: Fraction, num_frames: int = 1, options: SourceOptions | None = None
) -> list[tuple[Fraction, av.VideoFrame]]:
    """(seconds, frame) of the frames from `time_s` on, on the time line that `open_source(url)` has. Fewer at the end.

    origin, rate: of the video, as its Source tells them. Raises SourceError where there is no frame any more.
    """
    start = max(Fraction(0), Fraction(time_s).limit_denominator(1_000_000) - origin - _EARLIER / rate)
    options = replace(options or SourceOptions(), start_s=float(start), end_s=None, num_frames=num_frames)
    with Source(url, options) as source:
        # Source's clock starts at `start`, in whole ticks of the video
        offset = source.times.shift - (Fraction(source.container.start_time or 0, av.time_base) if source.is_broadcast else 0)
        return [((frame.pts or 0) * source.time_base + offset, frame) for frame in source.frames()]
