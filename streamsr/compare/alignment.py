"""Pairing the frames of two videos by their presentation times, in one pass and with a few frames in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av

from ..io.source import Source

MILLISECOND = Fraction(1, 1000)  # Matroska's clock, and FFmpeg's rounding to it


@dataclass(slots=True)
class Unpaired:
    """Times in seconds of frames without a partner."""

    result: list[float] = field(default_factory=list)
    original: list[float] = field(default_factory=list)


def pair_frames(result: Source, original: Source, unpaired: Unpaired) -> Iterator[tuple[Fraction, av.VideoFrame, av.VideoFrame]]:
    """(time in seconds, frame of the result, frame of the original) for equal times; the others are noted in `unpaired`.

    Times are equal when they differ by no more than the two clocks round: half a tick of each, or a millisecond where either counts
    milliseconds. Both have increasing times, so the earlier of two different frames can have no partner any more.
    """
    ticks = (result.time_base, original.time_base)
    tolerance = max(sum(ticks, Fraction(0)) / 2, MILLISECOND if MILLISECOND in ticks else Fraction(0))
    frames = result.frames(), original.frames()
    one, other = (next(stream, None) for stream in frames)
    while one is not None or other is not None:
        times = [None if f is None else Fraction(f.pts or 0) * base for f, base in zip((one, other), ticks, strict=True)]
        first, second = times
        if one is not None and other is not None and first is not None and second is not None and abs(first - second) <= tolerance:
            yield second, one, other
            one, other = (next(stream, None) for stream in frames)
        elif second is None or (first is not None and first < second):
            assert first is not None
            unpaired.result.append(float(first))
            one = next(frames[0], None)
        else:
            unpaired.original.append(float(second))
            other = next(frames[1], None)
