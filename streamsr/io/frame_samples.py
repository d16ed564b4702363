"""Frames from all over a file, to see what kind of picture it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av
import av.error

from ..errors import SourceError
from ..options import SourceOptions
from .crop import cropped
from .input_container import open_input

if TYPE_CHECKING:
    from .source import Source

NUM_SAMPLES = 5
SHORTEST_S = 2.0  # of a file worth looking into: the frames of a shorter one are alike
_MOST_DECODED = 600  # frames, where there are too few key frames


def sample_frames(source: Source, count: int = NUM_SAMPLES) -> list[av.VideoFrame]:
    """Key frames spread evenly over the source's file, cropped as the source's are; the source stays where it is.

    [] where only reading on can tell: pipes, live streams, pictures, files that cannot seek or be decoded there.
    """
    duration = source.duration_s
    if duration is None or duration < SHORTEST_S:
        return []
    options = source.options
    span = options.start_s or 0.0, min(options.end_s or duration, duration)
    frames = key_frames(source.url, options, source.stream.index, span, count)
    if options.crop is None or options.crop == "auto":
        return frames
    return list(cropped(frames, options.crop))


def can_look_ahead(url: str) -> bool:
    """Whether `url` is a local file, which can be read twice."""
    return url != "-" and "://" not in url


def key_frames(url: str, options: SourceOptions, index: int, span: tuple[float, float], count: int) -> list[av.VideoFrame]:
    """Key frames of stream `index` spread evenly over `span` (seconds from the start), by a reader of their own; [] where that fails."""
    frames: list[av.VideoFrame] = []
    if not can_look_ahead(url):
        return []
    try:
        with open_input(url, options) as container:
            if not container.duration:
                return []
            stream = container.streams[index]
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.thread_count = 1  # frame threads would decode ahead
            stream.codec_context.skip_frame = "NONKEY"
            origin_s = (container.start_time or 0) / av.time_base
            for number in range(count):
                at_s = span[0] + (span[1] - span[0]) * (number + 0.5) / count
                container.seek(int((origin_s + at_s) * av.time_base), backward=True)
                frame = next(container.decode(stream), None)
                if frame is not None and (not frames or frame.pts != frames[-1].pts):
                    frames.append(frame)
    except (av.error.FFmpegError, SourceError, ValueError, StopIteration):
        return []  # the run itself says what is wrong
    return frames


def spread_frames(url: str, options: SourceOptions, index: int, span: tuple[float, float], count: int) -> list[av.VideoFrame]:
    """`key_frames`; where there are few of them, frames between, from the beginning of the span on."""
    frames = key_frames(url, options, index, span, count)
    if 2 * len(frames) >= count or not can_look_ahead(url):
        return frames
    try:
        with open_input(url, options) as container:
            stream = container.streams[index]
            assert isinstance(stream, av.VideoStream)
            stream.thread_type = "AUTO"
            origin_s = (container.start_time or 0) / av.time_base
            if span[0]:
                container.seek(int((origin_s + span[0]) * av.time_base), backward=True)
            num_frames = (span[1] - span[0]) * float(stream.average_rate or 25) if span[1] else _MOST_DECODED
            step = max(1, round(min(num_frames, _MOST_DECODED) / count))
            for number, frame in enumerate(container.decode(stream)):
                if number % step == 0:
                    frames.append(frame)
                if number + 1 >= _MOST_DECODED:
                    break
    except (av.error.FFmpegError, SourceError, ValueError, StopIteration):
        pass
    return frames
