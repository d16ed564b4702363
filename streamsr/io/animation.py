"""Animation: how often a GIF, APNG or WebP is played, and for how long its last picture is shown."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import av
import av.error

from .containers import GIF, OutputFormat
from .input_container import open_input
from .source import Source

_HEAD_BYTES = 1 << 20  # in which the number is looked for: a profile may come before it
_LONGEST_DELAY = 65_535  # ticks


def animation_options(source: Source, output: OutputFormat) -> dict[str, str]:
    """The muxer's options for a GIF or an APNG that plays as often as its source, for ever where that is no animation."""
    plays = num_plays(source.url)
    plays = 0 if plays is None else plays
    options = {"loop": str(plays - 1 if plays > 1 else -1 if plays else 0)} if output == GIF else {"plays": str(plays)}
    last_s = _last_duration_s(source)
    if last_s is not None and output.tick is not None and output.tick != "rate":
        ticks = min(max(1, round(last_s / float(output.tick))), _LONGEST_DELAY)
        options["final_delay"] = str(ticks) if output == GIF else f"{ticks}/{output.tick.denominator}"
    return options


def num_plays(url: str) -> int | None:
    """How often the animation in this file is played, 0 for ever; None for what is no animation."""
    if url == "-" or not Path(url).is_file():
        return None
    with open(url, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"GIF8"):
        found = re.search(rb"\x21\xff\x0b(?:NETSCAPE2\.0|ANIMEXTS1\.0)\x03\x01(..)", head, re.DOTALL)
        repeats = struct.unpack("<H", found[1])[0] if found else None
        return 1 if repeats is None else repeats + 1 if repeats else 0  # it counts what comes after the first time
    if head.startswith(b"\x89PNG"):
        found = re.search(rb"\0\0\0\x08acTL....(....)", head, re.DOTALL)
        return struct.unpack(">I", found[1])[0] if found else None
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        found = re.search(rb"ANIM\x06\0\0\0....(..)", head, re.DOTALL)
        return struct.unpack("<H", found[1])[0] if found else None
    return None


def _last_duration_s(source: Source) -> float | None:
    """Seconds for which the last picture of an animation is shown; None where only a part of it is wanted, or it is none."""
    options = source.options
    if num_plays(source.url) is None or options.end_s is not None or options.num_frames is not None:
        return None
    last: av.Packet | None = None
    try:
        with open_input(source.url, options) as container:
            for packet in container.demux(container.streams[source.stream.index]):
                last = packet if packet.size else last
    except av.error.FFmpegError:
        return None  # who reads the video says so
    return None if last is None or not last.duration else float(last.duration * last.time_base)
