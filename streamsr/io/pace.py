"""Pace: whether an output can show the source's pictures when they are due, found out from the source's packets before the run."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import av.error

from ..errors import SinkError
from .containers import OutputFormat, is_pattern
from .decoding import settle_time
from .encoder_choice import closest_rate
from .input_container import open_input
from .source import Source

_MXF_RATES = {Fraction(24), Fraction(25), Fraction(30), Fraction(48), Fraction(50), Fraction(60), Fraction(24000, 1001),
              Fraction(30000, 1001), Fraction(60000, 1001)}  # SMPTE ST 326, as far as FFmpeg writes them  # fmt: skip
_SYNC_S = Fraction(1, 20)  # that audio may begin before or after the pictures where all begin together


def check_pace(url: str, source: Source, output: OutputFormat) -> None:
    """Raises SinkError where the times of the source's pictures or audio cannot be held."""
    if output.tick is None:
        return
    rate = closest_rate(source.rate)  # of what comes out
    if output.muxer == "mxf" and rate not in _MXF_RATES:
        known = ", ".join(f"{float(known):.5g}" for known in sorted(_MXF_RATES))
        raise SinkError(f"{url}: MXF has no {float(rate):.5g} frames a second.", hint=f"it has {known}; or choose .mkv or .mov")
    if output.audio is not None and source.options.start_s is None:
        _check_audio(url, source, output)
    times = _picture_times(source)
    if output.tick == "rate":
        _check_constant(url, times, closest_rate(source.coded_rate), output)
    elif output.least_s:
        tick = output.tick
        ticks = [round(time / tick) for time in times]
        short = [time for time, (a, b) in zip(times, pairwise(ticks), strict=False) if (b - a) * tick < output.least_s]
        if short:
            words = f"{url}: players show a picture of a {output.muxer.upper()} for {float(output.least_s):g} s or longer, and "
            words += f"{len(short)} of {len(times)} are due for less, the first at {float(short[0]):.3f} s"
            raise SinkError(f"{words}.", hint="choose .apng, .webm or .mp4, or give a source of at most 50 frames a second")


def _check_audio(url: str, source: Source, output: OutputFormat) -> None:
    begin_s = (source.stream.start_time or 0) * source.time_base
    for stream in source.other_streams:
        if stream.type != "audio" or stream.start_time is None or stream.time_base is None:
            continue
        late_s = stream.start_time * stream.time_base - begin_s
        if abs(late_s) > _SYNC_S:
            when = f"{float(abs(late_s)):.3f} s {'after' if late_s > 0 else 'before'} the first picture"
            words = f"{url}: stream #{stream.index} audio begins {when}, and {output.muxer} begins everything together"
            raise SinkError(f"{words}.", hint="choose .mkv, .mp4 or .mov")


def _check_constant(url: str, times: list[Fraction], rate: Fraction, output: OutputFormat) -> None:
    if not times:
        return
    for number, time in enumerate(times):
        due = times[0] + number / rate
        if abs(time - due) > Fraction(9, 20) / rate:
            words = f"{url}: {output.muxer} holds a constant rate alone, and the picture at {float(time):.3f} s is due at "
            words += f"{float(due):.3f} s by {float(rate):.5g} frames a second"
            raise SinkError(f"{words}.", hint="choose .mkv, .mp4 or .mov, which hold any times")


def _picture_times(source: Source) -> list[Fraction]:
    """When the pictures of a file's range are shown, in seconds of its own clock, ascending; [] where that is not known."""
    if source.url == "-" or is_pattern(source.url) or not Path(source.url).is_file():
        return []
    times = []
    try:
        with open_input(source.url, source.options) as container:
            for packet in container.demux(container.streams[source.stream.index]):
                if not packet.size or packet.is_discard:
                    continue
                settle_time(packet, container)
                time = packet.dts if packet.pts is None else packet.pts
                if time is None:
                    return []
                times.append(time * packet.time_base)
    except av.error.FFmpegError:
        pass  # who reads the video says so
    origin_s = Fraction(source.container.start_time or 0, av.time_base)
    start_s, end_s = source.options.start_s, source.options.end_s
    inside = [
        time for time in sorted(times)
        if (start_s is None or time >= origin_s + Fraction(start_s)) and (end_s is None or time < origin_s + Fraction(end_s))
    ]  # fmt: skip
    return inside[: source.options.num_frames]
