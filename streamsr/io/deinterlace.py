"""Deinterlacing by FFmpeg's bwdif, one frame out for each frame in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
from av.filter import Graph

from ..frame import fetch, sample_format

_Times = tuple[int | None, int | None, Fraction | None]  # pts, duration, time base


def deinterlace(frames: Iterable[av.VideoFrame], *, every_frame: bool = False) -> Iterator[av.VideoFrame]:
    """Yield each frame with its own pts and duration, interlaced ones made progressive.

    every_frame: treat all frames as interlaced, whatever their flags say.
    A stream without interlaced frames passes through untouched; bwdif starts at the first interlaced frame, and anew
    where the size or pixel format changes. It sees the frame before the first interlaced one too: so each frame depends
    on its two neighbours alone, wherever the decoding began (streamsr.jobs). What it makes is in host memory.
    """
    graph: Graph | None = None
    before: av.VideoFrame | None = None  # the last frame that passed
    shape: tuple[int, int, str] | None = None
    times: deque[_Times | None] = deque()
    for frame in frames:
        new_shape = (frame.width, frame.height, sample_format(frame))
        if graph is not None and new_shape != shape:
            graph.vpush(None)
            yield from _drain(graph, times)
            graph = None
        if graph is None:
            if not (every_frame or frame.interlaced_frame):
                yield frame
                before = frame
                continue
            graph, shape = _open_bwdif(fetch(frame), every_frame=every_frame), new_shape
            if before is not None and (before.width, before.height, sample_format(before)) == shape:
                times.append(None)
                graph.vpush(fetch(before))
            before = None
        times.append((frame.pts, frame.duration, frame.time_base))
        graph.vpush(fetch(frame))
        yield from _drain(graph, times)
    if graph is not None:
        graph.vpush(None)
        yield from _drain(graph, times)


def _open_bwdif(frame: av.VideoFrame, *, every_frame: bool) -> Graph:
    graph = Graph()
    base = frame.time_base or Fraction(1, 1000)
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
        f":time_base={base.numerator}/{base.denominator}:pixel_aspect=1/1"
        f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
    )
    # send_frame: one picture per frame, so the account still balances; a field per frame would double the rate.
    bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={'all' if every_frame else 'interlaced'}")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _drain(graph: Graph, times: deque[_Times | None]) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):  # FFmpeg wants another frame first, or is done
            return
        # bwdif halves the time base and forgets durations: the n-th frame out is the n-th frame in
        known = times.popleft()
        if known is not None:  # else it has passed already
            frame.pts, frame.duration, frame.time_base = known[0], known[1] or 0, known[2]
            yield frame
