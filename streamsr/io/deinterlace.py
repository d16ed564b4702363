"""Deinterlacing by FFmpeg's filters: one frame out for each frame in, every field a frame, or telecined film as it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Literal

import av
import av.error
from av.filter import Graph

from ..errors import SourceError
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


# frames that come out for each that goes in, by the mode
FRAMES_OUT = {"bob": Fraction(2), "film": Fraction(4, 5)}
# `bob`: every field becomes a frame, at its own time; `film`: fields that belong together, without the repetition of 3:2 pulldown
_CHAINS = {
    "bob": [("bwdif", "mode=send_field:parity=auto:deint=interlaced")],
    "film": [("fieldmatch", "order=auto:combmatch=full"), ("bwdif", "mode=send_frame:parity=auto:deint=interlaced"), ("decimate", "")],
}


def rearrange(
    frames: Iterable[av.VideoFrame], mode: Literal["bob", "film"], *, rate: Fraction, notes: list[str]
) -> Iterator[av.VideoFrame]:
    """Frames of another number, with ascending times of their own: more for "bob", fewer for "film". See _CHAINS.

    rate: nominal frames per second of what comes in. notes: gets the numbers at the end.
    Raises SourceError for pictures that FFmpeg's filters do not take.
    """
    num_in = num_out = 0
    last: int | None = None

    def counted() -> Iterator[av.VideoFrame]:
        nonlocal num_in
        for frame in frames:
            num_in += 1
            yield frame

    for frame in _filtered(counted(), mode, rate):
        if frame.pts is None or (last is not None and frame.pts <= last):
            frame.pts = 0 if last is None else last + 1
        last, num_out = frame.pts, num_out + 1
        yield frame
    what = "every field became a frame" if mode == "bob" else "3:2 pulldown was undone"
    notes.append(f"--deinterlace {mode}: {what}, {num_out} frames of {num_in}")


def _filtered(frames: Iterable[av.VideoFrame], mode: Literal["bob", "film"], rate: Fraction) -> Iterator[av.VideoFrame]:
    """What the filters make, which start anew where the size or pixel format changes."""
    graph: Graph | None = None
    shape: tuple[int, int, str] | None = None
    base = Fraction(1, 1000)
    for frame in frames:
        new_shape = (frame.width, frame.height, sample_format(frame))
        if graph is None or new_shape != shape:
            if graph is not None:
                graph.vpush(None)
                yield from _pull(graph, base)
            base = frame.time_base or base
            graph, shape = _open_chain(fetch(frame), mode, rate), new_shape
        graph.vpush(fetch(frame))
        yield from _pull(graph, base)
    if graph is not None:
        graph.vpush(None)
        yield from _pull(graph, base)


def _open_chain(frame: av.VideoFrame, mode: Literal["bob", "film"], rate: Fraction) -> Graph:
    try:
        return _open(frame, _CHAINS[mode], f":frame_rate={rate.numerator}/{rate.denominator}")
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"--deinterlace {mode} does not take {frame.format.name} pictures.", hint="--deinterlace on does") from error


def _pull(graph: Graph, base: Fraction) -> Iterator[av.VideoFrame]:
    """What has come out, with times in ticks of `base`."""
    while True:
        try:
            frame = graph.vpull()
        except (BlockingIOError, EOFError):
            return
        if frame.pts is not None and frame.time_base:
            frame.pts, frame.duration = round(frame.pts * frame.time_base / base), round((frame.duration or 0) * frame.time_base / base)
        frame.time_base = base
        yield frame


def _open_bwdif(frame: av.VideoFrame, *, every_frame: bool) -> Graph:
    # send_frame: one picture per frame, so the account still balances
    return _open(frame, [("bwdif", f"mode=send_frame:parity=auto:deint={'all' if every_frame else 'interlaced'}")])


def _open(frame: av.VideoFrame, filters: Iterable[tuple[str, str]], more: str = "") -> Graph:
    graph = Graph()
    base = frame.time_base or Fraction(1, 1000)
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}"
        f":time_base={base.numerator}/{base.denominator}:pixel_aspect=1/1"
        f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}{more}",
    )
    last = source
    for name, options in [*filters, ("buffersink", "")]:
        added = graph.add(name, options) if options else graph.add(name)
        last.link_to(added)
        last = added
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
