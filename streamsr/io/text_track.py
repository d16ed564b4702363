"""Text subtitles in the container's own codec, through FFmpeg's ASS form.

Note [Overlaps]: mp4 and mov show one sample of text at a time, each until the next. So cues that overlap are cut where one begins or
ends, and what is shown together becomes one sample, line under line: every text appears and disappears when it did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import av
import av.error
from av.subtitles.codeccontext import SubtitleCodecContext
from av.subtitles.subtitle import AssSubtitle, SubtitleSet

from .decoding import packet_seconds
from .tracks import Track

MAX_TEXT_BYTES = 65_535  # of a cue: what a sample of mov_text holds, and FFmpeg's converters take seconds for more
_INTERLEAVE_S = 10  # how far texts may lie behind the other streams in the source
_NUM_FIELDS = 8  # of an ASS event before its text


@dataclass(slots=True)
class _Cue:
    start: int  # ticks of the source's time base
    end: int
    event: bytes  # ASS


@dataclass(slots=True)
class TextTrack(Track):
    """Text subtitles that are converted."""

    overlaps: bool = True  # the output shows several texts at a time
    _active: list[_Cue] = field(default_factory=list)  # shown at `_now` or later
    _now: int = 0  # up to where all has been written

    def mux(self, packet: av.Packet) -> None:
        seconds = packet_seconds(packet)
        if packet.size > MAX_TEXT_BYTES:
            words = f"a text of {packet.size} bytes at {float(seconds or 0):.3f} s was left out"
            self.errors.append(f"{words}: at most {MAX_TEXT_BYTES} are converted")
            return
        decoder = self.source.codec_context
        assert isinstance(decoder, SubtitleCodecContext)
        try:
            subtitle = decoder.decode2(packet)
        except av.error.FFmpegError as error:
            self.errors.append(f"a text near {float(seconds or 0):.3f} s was left out: {error.strerror}")
            return
        if subtitle is None or packet.pts is None or packet.time_base is None:
            return
        events = [rect.ass for rect in subtitle.rects if isinstance(rect, AssSubtitle) and rect.ass]
        if not events:
            return  # the pause between two samples of mov_text
        duration = packet.duration or round(subtitle.end_display_time / 1000 / packet.time_base)
        if self.overlaps:
            self._write(_Cue(packet.pts, packet.pts + duration, merge(events)))
        else:
            self._show_until(packet.pts)
            self._active += [_Cue(packet.pts, packet.pts + duration, event) for event in events]
        self.count(packet, seconds)

    def finish(self) -> None:
        if self._active:
            self._show_until(max(cue.end for cue in self._active))

    def advance(self, seconds: Fraction) -> None:
        """The other streams have come to `seconds`: write what no later text can change."""
        if self._active and self.source.time_base is not None:
            self._show_until(int((seconds - _INTERLEAVE_S) / self.source.time_base), cut=False)

    def _show_until(self, time: int, *, cut: bool = True) -> None:
        """Write what is shown up to `time`. cut: also what goes on then. Note [Overlaps]"""
        while self._active:
            shown = [cue for cue in self._active if cue.start <= self._now < cue.end]
            edges = [edge for cue in self._active for edge in (cue.start, cue.end) if edge > self._now]
            until = min([*edges, time])
            if until <= self._now or (not cut and until not in edges):
                return
            if shown:
                self._write(_Cue(self._now, until, merge([cue.event for cue in shown])))
            self._now = until
            self._active = [cue for cue in self._active if cue.end > self._now]
        self._now = max(self._now, time) if cut else self._now

    def _write(self, cue: _Cue) -> None:
        encoder = self.output.codec_context
        assert isinstance(encoder, SubtitleCodecContext)
        seconds = float(cue.start * (self.source.time_base or 0))
        if len(cue.event) > MAX_TEXT_BYTES:
            self.errors.append(f"{len(cue.event)} bytes of text at {seconds:.3f} s were left out: {MAX_TEXT_BYTES} are shown at most")
            return
        try:
            packet = encoder.encode_subtitle(SubtitleSet.create(cue.event, 0, cue.end - cue.start, cue.start))
        except av.error.FFmpegError as error:
            self.errors.append(f"a text at {seconds:.3f} s was left out: {error.strerror}")
            return
        packet.time_base = self.source.time_base or Fraction(1, 1000)
        packet.pts = packet.dts = cue.start
        packet.duration = cue.end - cue.start
        packet.stream = self.output
        self.write(packet)


def merge(events: list[bytes]) -> bytes:
    """ASS events as one, their texts line under line, each in its own style."""
    if len(events) == 1:
        return events[0]
    parts = [event.split(b",", _NUM_FIELDS) for event in events]
    texts = [parts[0][-1]] + [b"{\\r" + part[2] + b"}" + part[-1] for part in parts[1:] if len(part) > _NUM_FIELDS]
    return b",".join([*parts[0][:-1], b"\\N".join(texts)])
