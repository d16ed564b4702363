"""The time line of the output: how far the input's times are moved, and which part of it is wanted.

Note [Shift]: what a Source gives is on the output's time line, `shift` seconds earlier than the file's: the start of the range, or the
start of a broadcast stream whose clock began before the recording.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import av

from ..options import SourceOptions
from .decoding import packet_seconds
from .tracks import LONGEST_PRIMING_S


@dataclass(slots=True)
class TimeLine:
    """See Note [Shift]. Times in seconds; `end` is set late where a number of frames is the limit."""

    shift: Fraction  # taken off every timestamp of the input
    start: Fraction | None  # first time wanted, on the output's time line; None: the input's own
    end: Fraction | None  # where what is wanted ends

    def of(self, packet: av.Packet) -> Fraction | None:
        """Time of a packet of the input on the output's time line."""
        seconds = packet_seconds(packet)
        return None if seconds is None else seconds - self.shift


def find_time_line(
    container: av.container.InputContainer, options: SourceOptions, *, time_base: Fraction, video_start: Fraction, is_broadcast: bool,
    audio: Iterable[av.stream.Stream], notes: list[str],
) -> TimeLine:  # fmt: skip
    """Of an input as it was opened.

    time_base: of the video. video_start: when its first picture is shown, in seconds. notes: receives messages about what is unusual.
    """
    origin = Fraction(container.start_time or 0, av.time_base)
    shift = origin if is_broadcast else Fraction(0)
    if not options.negative and not is_broadcast:
        starts = [(stream.start_time or 0) * (stream.time_base or 0) for stream in audio]
        earliest = Fraction(min([video_start, *(time for time in starts if time < -LONGEST_PRIMING_S)]))
        if earliest < 0:
            shift = earliest
            notes.append(f"all times moved {float(-shift):.3f} s later: the input starts before 0, and the output's container cannot")
    start = end = None
    if options.start_s is not None:
        # whole ticks of the video, so that audio and picture move by the same time
        shift = math.ceil((origin + _seconds(options.start_s)) / time_base) * time_base
        start = Fraction(0)
    if options.end_s is not None:
        end = origin - shift + _seconds(options.end_s)
    return TimeLine(shift, start, end)


def _seconds(value: float) -> Fraction:
    return Fraction(value).limit_denominator(1_000_000)
