"""Picture times: every frame gets a time on the output's time line, later than that of the frame before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import av

from .decoding import SourceCount
from .time_line import TimeLine


def settle_times(
    frames: Iterable[av.VideoFrame], times: TimeLine, *, time_base: Fraction, step: int, begin: int | None, numbers: Sequence[int],
    count: SourceCount,
) -> Iterator[av.VideoFrame]:  # fmt: skip
    """The frames, moved by `times`, without those before its start; what is repaired and left out is counted.

    step: ticks of `time_base` from one frame to the next. begin: the input's time of a first frame that has none, in ticks; None: it goes
    to the start of the time line. numbers: of the pictures of an image sequence whose gaps are kept; empty else.
    """
    shift = round(times.shift / time_base)
    last: int | None = None
    for frame in frames:
        if numbers and frame.pts is not None:
            frame.pts = (numbers[frame.pts // step] - numbers[0]) * step
        if frame.pts is not None:
            frame.pts -= shift
        if frame.pts is None or (last is not None and frame.pts <= last):
            count.num_repaired_pts += 1
            if last is None:
                frame.pts = 0 if begin is None else begin - shift
            else:
                frame.pts = last + step if frame.pts is None else last + 1
        last = frame.pts
        if times.start is not None and frame.pts * time_base < times.start:
            count.num_outside += 1
            continue
        yield frame
