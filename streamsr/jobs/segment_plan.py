"""Plan: where a video is cut into segments, from one pass over its packets.

Segments are ranges of presentation time, so a frame belongs to exactly one, whatever the order of its packet in the
file. Note [Cuts]: a cut is wanted at a clean key frame, one that everything decoded before is shown before: frames
from it on need nothing older, and its leading B-frames, which do, are shown before it and so belong to the segment
before. Where key frames are rare, the cut is made anyway, and the segment is decoded from the key frame before it.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import av.error
import numpy as np

from ..errors import Interrupted, SourceError
from ..io.clock import Clock
from ..io.coverage import Coverage
from ..io.decoding import settle_time
from ..io.input_container import has_restarts, open_input, pick_video
from ..io.source import Source
from ..models import ModelSpec

_MAX_REORDER = 64  # packets: no codec reorders by more than 16 frames; what lies further is a clock that jumps
_LONGEST = 3  # times the wanted length, before a cut is made without a key frame
_RUN_IN = 2  # frames that a deinterlacer needs before the first one
_FAR_BACK = 32  # frames: behind so many, even a stream that is refreshed bit by bit is whole

WARMUP_FRAMES = 16  # that a network with a state sees before a segment; to be set from how far its state reaches


class Uncut(Exception):  # noqa: N818 (an answer, not a fault)
    """Why a video cannot be cut, as text that follows "in one piece: "."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video. Times are pts on the output's time line, in ticks of the source's `time_base`."""

    number: int
    first: int  # of its first frame
    last: int  # of its last frame
    end: int | None  # of the next segment's first frame; None: to the end
    num_frames: int  # by the packets; damaged ones may give less
    warm: int  # first frame that the network sees, to warm up its state; `first` for a network without one
    keys: tuple[int, ...] = ()  # key frames to decode from, the nearest first; where none serves: from the beginning


@dataclass(frozen=True, slots=True)
class Packets:
    """What a pass over the packets of a video found, in decoding order."""

    pts: np.ndarray  # int64, on the output's time line
    is_key: np.ndarray  # bool
    is_shown: np.ndarray  # bool: not cut off by an edit list nor by --start and --end
    num_corrupt: int = 0  # that could not be read


def scan(source: Source, stop: threading.Event) -> Packets:
    """Read all packets of the video. Raises Uncut where a packet has no time, SourceError where reading fails, Interrupted."""
    pts, keys, shown = array("q"), array("b"), array("b")
    num_corrupt = 0
    base = source.time_base
    shift = round(source.times.shift / base)
    start, end = (None if time is None else time / base for time in (source.times.start, source.times.end))
    with open_input(source.url, source.options) as container:
        stream = pick_video(container, source.url)
        source.planned = coverage = Coverage(source.url, container, stream, video_alone=True)
        clock = Clock()
        demux = (lambda: clock.carry_on(container.demux(stream))) if has_restarts(container) else lambda: container.demux(stream)
        packets = demux()
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                num_corrupt += 1
                if num_corrupt > source.options.max_errors:
                    raise SourceError(f"{source.url}: cannot be read further: {error}.") from error
                packets = demux()
                continue
            if packet is None:
                coverage.is_at_end = True
                break
            settle_time(packet, container)
            coverage.see(packet)
            if stop.is_set():
                raise Interrupted("Interrupted before the first frame.")
            if not packet.size:
                continue
            if clock.restarts:
                raise Uncut("its clock starts anew")
            if packet.pts is None:
                raise Uncut("some of its packets have no time")
            time = packet.pts - shift
            pts.append(time)
            keys.append(packet.is_keyframe)
            shown.append(not packet.is_discard and (start is None or time >= start) and (end is None or time < end))
    return Packets(np.array(pts, np.int64), np.array(keys, bool), np.array(shown, bool), num_corrupt)


def plan_segments(packets: Packets, *, ticks: int, warmup: int = 0) -> list[Segment]:
    """Cut into segments of about `ticks` ticks, see Note [Cuts]; `warmup` frames are seen before each but the first.

    Raises Uncut where the times do not allow it.
    """
    order = np.sort(packets.pts[packets.is_shown])
    _check_times(packets, order)
    keys = _clean_keys(packets)
    starts = _choose_starts(order, keys, ticks)
    segments = []
    for number, begin in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else len(order)
        warm = max(begin - warmup, 0) if number else begin
        segments.append(
            Segment(
                number, int(order[begin]), int(order[stop - 1]), int(order[stop]) if stop < len(order) else None, stop - begin,
                int(order[warm]), _keys_before(keys, order, warm) if number else (),
            )
        )  # fmt: skip
    check_tiling(segments, order)
    return segments


def check_tiling(segments: list[Segment], order: np.ndarray) -> None:
    """The segments hold every frame time of `order` (ascending) once."""
    count = 0
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        inside = order[count : count + segment.num_frames]
        assert len(inside) == segment.num_frames > 0, f"segment {segment.number} is empty or too long"
        assert (inside[0], inside[-1]) == (segment.first, segment.last), f"segment {segment.number} has other frames"
        assert segment.end == (None if following is None else following.first), f"a gap after segment {segment.number}"
        count += segment.num_frames
    assert count == len(order), f"{len(order) - count} frames are in no segment"


def warmup_frames(specs: Sequence[ModelSpec]) -> int:
    """How many frames a model has to see before its state is what it would be; 0 for a model without one."""
    return WARMUP_FRAMES if any(spec.states for spec in specs) else 0


def seconds_to_ticks(seconds: float, time_base: Fraction) -> int:
    return max(1, round(Fraction(seconds) / time_base))


def _check_times(packets: Packets, order: np.ndarray) -> None:
    if not len(order):
        raise Uncut("it has no packet in this range")
    if (np.diff(order) == 0).any():
        raise Uncut("some of its packets share a time")
    ranks = np.searchsorted(order, packets.pts[packets.is_shown])
    if (np.abs(ranks - np.arange(len(order))) > _MAX_REORDER).any():
        raise Uncut("its clock jumps")


def _clean_keys(packets: Packets) -> np.ndarray:
    """Times of the clean key frames, ascending, see Note [Cuts]."""
    latest = np.maximum.accumulate(np.concatenate([[np.iinfo(np.int64).min], packets.pts]))[:-1]
    return np.sort(packets.pts[packets.is_key & (packets.pts > latest)])


def _choose_starts(order: np.ndarray, keys: np.ndarray, ticks: int) -> list[int]:
    """Indices into `order` at which segments begin."""
    starts = [0]
    keys = keys[np.isin(keys, order)]
    while True:
        begin = int(order[starts[-1]])
        if int(order[-1]) - begin < 3 * ticks // 2:
            return starts
        near = keys[(keys > begin + ticks // 2) & (keys <= begin + _LONGEST * ticks)]
        wanted = begin + ticks
        if len(near):
            wanted = int(near[np.argmin(np.abs(near - wanted))])
        at = max(int(np.searchsorted(order, wanted)), starts[-1] + 1)
        if at >= len(order) - 1:
            return starts
        starts.append(at)


def _keys_before(keys: np.ndarray, order: np.ndarray, index: int) -> tuple[int, ...]:
    """The nearest key frame that starts a decoder for frame `index`, and others that lie further back."""
    found: list[int] = []
    for back in (0, _RUN_IN, _FAR_BACK):
        at = int(np.searchsorted(keys, order[max(index - back, 0)], side="right")) - 1
        if at >= 0 and int(keys[at]) not in found:
            found.append(int(keys[at]))
    return tuple(found)
