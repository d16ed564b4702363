"""Seeking: to a key frame at or before a time, also where the file has no index."""

from __future__ import annotations

import math
from fractions import Fraction

import av
import av.error

from .decoding import packet_seconds

_BACK_S = (0, 2, 8, 30, 120)  # how far before the target to look for a key frame, then from the beginning


def seek_key_frame(container: av.container.InputContainer, stream: av.VideoStream, target: Fraction, *, begin: Fraction) -> bool:
    """Go where decoding has to start for a frame at `target` seconds; `begin`: where the file starts. False: it cannot seek."""
    try:
        # not once: where there is no index (ts, mpg, ogg), FFmpeg lands between key frames, and what a decoder
        # needs lies before that
        for back_s in _BACK_S:
            at = max(target - back_s, begin)
            container.seek(math.ceil(at * av.time_base), backward=True)
            if at == begin or _starts_in_time(container, stream, target):
                break
        else:
            at = begin
        container.seek(math.ceil(at * av.time_base), backward=True)
    except av.error.FFmpegError:
        return False
    return True


def _starts_in_time(container: av.container.InputContainer, stream: av.VideoStream, target: Fraction) -> bool:
    """Whether the next key frame is not after the target; reads on, so seek again afterwards."""
    for packet in container.demux(stream):
        seconds = packet_seconds(packet)
        if packet.is_keyframe or (seconds is not None and seconds > target):
            return seconds is not None and seconds <= target
    return False
