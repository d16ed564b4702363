"""The frame account of the streams beside the video: audio starts, ends and counts as it did, subtitles are at their times."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from .io.tracks import LONGEST_PRIMING_S, AudioTrack, Track

_SYNC_S = Fraction(3, 2000)  # a millisecond, and half a tick where the input's own clock counts milliseconds
_END_S = Fraction(15, 100)  # what the last packets may be off: containers do not all say how long those are


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What went into a stream, or what is in one. Times in seconds."""

    kind: str  # "audio", "subtitle"
    num_packets: int = 0
    first_s: Fraction | None = None
    end_s: Fraction | None = None
    onsets_s: tuple[Fraction, ...] = field(default=(), repr=False)  # of subtitles
    is_copied: bool = True  # packet by packet
    is_converted: bool = False  # encoded anew: an encoder's priming may come before it
    num_lost: int = 0  # packets that are known to be lost, because they were damaged

    def extended(self, start_s: Fraction, end_s: Fraction) -> StreamFacts:
        """With one packet more."""
        first_s = start_s if self.first_s is None else self.first_s
        end_s = end_s if self.end_s is None else max(self.end_s, end_s)
        return replace(self, num_packets=self.num_packets + 1, first_s=first_s, end_s=end_s)

    def moved(self, by_s: Fraction) -> StreamFacts:
        """The same, `by_s` earlier."""
        first_s, end_s = (None if time is None else time - by_s for time in (self.first_s, self.end_s))
        return replace(self, first_s=first_s, end_s=end_s, onsets_s=tuple(time - by_s for time in self.onsets_s))


def facts_of(track: Track) -> StreamFacts:
    """What a track has written."""
    return StreamFacts(
        track.kind, track.num_packets, track.first_s, track.end_s, tuple(track.onsets_s), track.is_copied_whole,
        isinstance(track, AudioTrack), len(track.errors),
    )  # fmt: skip


def check_streams(problems: list[str], expected: Sequence[StreamFacts], found: Sequence[StreamFacts]) -> None:
    """Compare audio and subtitle streams, in their order; differences go to `problems` as text."""
    for kind in ("audio", "subtitle"):
        before, after = ([facts for facts in side if facts.kind == kind] for side in (expected, found))
        if len(before) != len(after):
            problems.append(f"{len(before)} {kind} streams in, {len(after)} out")
            continue
        for number, (a, b) in enumerate(zip(before, after, strict=True)):
            problems += [f"{kind} {number} {words}" for words in _differences(a, b)]


def _differences(before: StreamFacts, after: StreamFacts) -> list[str]:
    if before.is_copied and after.num_packets < before.num_packets:
        return [f"lost packets: {before.num_packets} in, {after.num_packets} out"]
    words = []
    if before.kind == "subtitle":
        missing = [time for time in before.onsets_s if not _near(time, after.onsets_s)]
        if missing:
            words.append(f"lost the times of {len(missing)} of {len(before.onsets_s)} texts, the first at {float(missing[0]):.3f} s")
        return words
    if before.num_packets and not after.num_packets:
        return ["lost all packets"]
    a, b = before.first_s, after.first_s
    tolerance_s = LONGEST_PRIMING_S if before.is_converted else _SYNC_S
    priming = a is not None and b is not None and a < 0 and abs(b) <= LONGEST_PRIMING_S  # may be left out or made anew
    if a is not None and b is not None and not priming and abs(a - b) > tolerance_s:
        words.append(f"starts {float(b - a) * 1000:+.1f} ms off")
    if before.end_s is not None and after.end_s is not None and after.end_s < before.end_s - _END_S and not before.num_lost:
        words.append(f"ends at {float(after.end_s):.3f} s, not {float(before.end_s):.3f} s")
    return words


def _near(time: Fraction, times: Sequence[Fraction]) -> bool:
    """Whether one of the ascending `times` is this one."""
    at = bisect_left(times, time - _SYNC_S)
    return at < len(times) and times[at] <= time + _SYNC_S
