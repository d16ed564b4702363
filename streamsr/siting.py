"""Where the chroma samples of a frame lie, as FFmpeg says it. PyAV does not show it."""

from __future__ import annotations

import logging
import re
import threading

import av
import av.logging
from av.filter import Graph
from streamsr_kernels.chroma_sites import FIRST_CHROMA_SAMPLE

CHROMA_LOCATIONS = tuple(FIRST_CHROMA_SAMPLE)
_SHOWINFO = re.compile(r"\bcl:(\w+)")
_AV_LOG_QUIET = -8
_lock = threading.Lock()  # the log level is one for the whole process
# What other threads' filters say while it is on would go to stderr, where Python prints warnings that nobody handles.
logging.getLogger("libav").addHandler(logging.NullHandler())


def find_chroma_location(video: av.VideoFrame) -> str:
    """One of CHROMA_LOCATIONS, or "unspecified": FFmpeg's showinfo filter prints it as `cl:NAME`.

    Takes about a millisecond: for the first frame of a stream, not for every frame.
    """
    graph = Graph()
    source = graph.add(
        "buffer",
        f"video_size={video.width}x{video.height}:pix_fmt={video.format.name}:time_base=1/1:pixel_aspect=1/1"
        f":colorspace={int(video.colorspace)}:range={int(video.color_range)}",
    )
    show, sink = graph.add("showinfo", "checksum=0"), graph.add("buffersink")
    source.link_to(show)
    show.link_to(sink)
    graph.configure()
    with _lock:
        lines = _log_of(graph, video)
    found = _SHOWINFO.search("".join(line[2] for line in lines))
    return found[1] if found and found[1] in CHROMA_LOCATIONS else "unspecified"


def _log_of(graph: Graph, video: av.VideoFrame) -> list[tuple[int, str, str]]:
    """What FFmpeg logs in this thread while `video` goes through `graph`.

    On for this one call alone: with PyAV's logging on, a codec that logs from a thread of its own while it is being
    freed waits for the interpreter lock that the freeing thread holds, and the process never ends.
    """
    level = av.logging.get_level() or None  # 0 is what an earlier call left
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture(local=True) as lines:
            graph.vpush(video)
            graph.vpull()
    finally:
        if level is None:
            # not set_level(None): a decoder's thread may be on its way into Python's callback, which fails where the
            # level is None. FFmpeg's own callback, set to say nothing, never asks for the interpreter lock.
            av.logging.set_libav_level(_AV_LOG_QUIET)
            av.logging.set_level(av.logging.PANIC)
            av.logging.restore_default_callback()
        else:
            av.logging.set_level(level)
    return list(lines)
