"""Frames from all over a file, to see what kind of picture it holds."""

from __future__ import annotations

import av
import av.error

from ..errors import SourceError
from .input_container import open_input
from .source import Source

NUM_SAMPLES = 5
SHORTEST_S = 2.0  # of a file worth looking into: the frames of a shorter one are alike


def sample_frames(source: Source, count: int = NUM_SAMPLES) -> list[av.VideoFrame]:
    """Key frames spread evenly over the source's file, decoded by a second reader; the source stays where it is.

    [] where only reading on can tell: pipes, live streams, pictures, files that cannot seek or be decoded there.
    """
    duration = source.duration_s
    if source.url == "-" or "://" in source.url or duration is None or duration < SHORTEST_S or not source.container.duration:
        return []
    begin_s = source.options.start_s or 0.0
    end_s = min(source.options.end_s or duration, duration)
    frames: list[av.VideoFrame] = []
    try:
        with open_input(source.url, source.options) as container:
            stream = container.streams[source.stream.index]
            assert isinstance(stream, av.VideoStream)
            stream.codec_context.thread_count = 1  # frame threads would decode ahead
            stream.codec_context.skip_frame = "NONKEY"
            origin_s = (container.start_time or 0) / av.time_base
            for number in range(count):
                at_s = begin_s + (end_s - begin_s) * (number + 0.5) / count
                container.seek(int((origin_s + at_s) * av.time_base), backward=True)
                frame = next(container.decode(stream), None)
                if frame is not None and (not frames or frame.pts != frames[-1].pts):
                    frames.append(frame)
    except (av.error.FFmpegError, SourceError, ValueError, StopIteration):
        return []  # the run itself says what is wrong
    return frames
