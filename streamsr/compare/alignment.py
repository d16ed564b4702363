"""Pairing the frames of two videos by their presentation times, in one pass and with a few frames in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av

from ..errors import SourceError
from ..io.moments import origin_of, read_at
from ..io.source import Source
from ..options import SourceOptions

MILLISECOND = Fraction(1, 1000)  # Matroska's clock, and FFmpeg's rounding to it


@dataclass(slots=True)
class Unpaired:
    """Times in seconds of frames without a partner."""

    result: list[float] = field(default_factory=list)
    original: list[float] = field(default_factory=list)


Pair = tuple[Fraction, av.VideoFrame, av.VideoFrame]  # seconds, frame of the result, frame of the original


def pair_frames(result: Source, original: Source, unpaired: Unpaired) -> Iterator[Pair]:
    """(time in seconds, frame of the result, frame of the original) for equal times; the others are noted in `unpaired`.

    Times are equal when they differ by no more than the two clocks round: half a tick of each, or a millisecond where either counts
    milliseconds. Both have increasing times, so the earlier of two different frames can have no partner any more.
    """
    ticks = (result.time_base, original.time_base)
    tolerance = _tolerance(result, original)
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


def pairs_at(result: Source, original: Source, times: Sequence[Fraction], options: SourceOptions, unpaired: Unpaired) -> Iterator[Pair]:
    """The pairs nearest to these seconds, looked up one by one; both Sources only tell where to look. None twice."""
    tolerance = _tolerance(result, original)
    last: Fraction | None = None
    for time in times:
        sides = []
        for source in (result, original):
            try:
                found = read_at(source.url, float(time), origin=origin_of(source), rate=source.rate, num_frames=2, options=options)
                sides.append(found)
            except SourceError:  # nothing there any more
                sides.append([])
        mine, theirs = sides
        pairs = [(b, one, other) for b, other in theirs for a, one in mine if abs(a - b) <= tolerance]
        if pairs and pairs[0][0] != last:
            last = pairs[0][0]
            yield pairs[0]
        elif not pairs:
            unpaired.original += [float(seconds) for seconds, _ in theirs[:1]]


def _tolerance(result: Source, original: Source) -> Fraction:
    ticks = (result.time_base, original.time_base)
    return max(sum(ticks, Fraction(0)) / 2, MILLISECOND if MILLISECOND in ticks else Fraction(0))
