"""Tracks: one output stream beside the video each, its packets copied or its audio encoded anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import av.error
from av.audio.resampler import AudioResampler
from av.stream import Disposition

from ..libav import stream_of
from .decoding import duration_s, packet_seconds

LONGEST_PRIMING_S = Fraction(60, 1000)  # two frames of 1024 samples at 44.1 kHz, a little more than any encoder's


@dataclass(slots=True)
class Track:
    """One output stream beside the video."""

    source: av.stream.Stream
    output: av.stream.Stream
    container: av.container.OutputContainer
    write: Callable[[av.Packet], None]  # takes each packet of `output`
    negative: bool = True  # the container holds times before 0
    kind: str = ""  # "audio", "subtitle"; a live source may have been closed, and its streams cannot be asked then
    num_packets: int = 0
    first_s: Fraction | None = None  # time of the first packet
    end_s: Fraction | None = None  # when the last packet ends
    onsets_s: list[Fraction] = field(default_factory=list)  # of subtitles: the time of each packet
    errors: list[str] = field(default_factory=list)  # a line for each packet that is lost

    @property
    def is_copied_whole(self) -> bool:
        """Whether a reader of the output finds the packets that went in: PCM is cut anew, mpegts joins what is short."""
        name = codec_name(self.source)
        return type(self) is Track and not name.startswith(("pcm", "adpcm")) and self.container.format.name != "mpegts"

    def mux(self, packet: av.Packet) -> None:
        """Write one packet of the source stream."""
        if packet.pts is None and packet.dts is None and self.source.disposition & Disposition.attached_pic:
            packet.pts = packet.dts = 0  # a cover picture has no time
        seconds = packet_seconds(packet)
        if seconds is None:
            self.errors.append("a packet without a time was left out")
            return
        if not self.negative and seconds < 0:
            if seconds < -LONGEST_PRIMING_S and not packet.is_discard:
                self.errors.append(f"a packet at {float(seconds):.3f} s was left out: {self.container.format.name} holds no times before 0")
            return  # an encoder's priming, cut off by the player; to hold it, Matroska would move every stream later
        packet.stream = self.output
        if self.put(packet, seconds):
            self.count(packet, seconds)

    def put(self, packet: av.Packet, seconds: Fraction | None) -> bool:
        """Write a packet of the output; False for one that the muxer refuses, which is noted."""
        try:
            self.write(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:  # a damaged packet, or one out of order
            self.errors.append(f"a packet near {float(seconds or 0):.3f} s was left out: {error.strerror}")
            return False
        return True

    def count(self, packet: av.Packet, seconds: Fraction | None) -> None:
        """Note a packet of the source that got through."""
        self.num_packets += 1
        if seconds is None:
            return
        if self.first_s is None:
            self.first_s = seconds
        end_s = seconds + duration_s(packet)
        self.end_s = end_s if self.end_s is None else max(self.end_s, end_s)
        if self.kind == "subtitle":
            self.onsets_s.append(seconds)

    def trouble(self) -> str:
        """Messages about what went wrong."""
        more = f" ({len(self.errors)} such packets)" if len(self.errors) > 1 else ""
        return f"{self.kind} #{self.source.index}: {self.errors[0]}{more}"

    def finish(self) -> None:
        """Write what is still held back."""


@dataclass(slots=True)
class AudioTrack(Track):
    """Audio in the container's own codec. Layout, rate and format of the source may change on the way."""

    resampler: AudioResampler | None = None
    _form: tuple[str, str, int] = ("", "", 0)  # what the resampler takes

    def mux(self, packet: av.Packet) -> None:
        seconds = packet_seconds(packet)
        try:
            frames = cast("list[av.AudioFrame]", packet.decode())
        except av.error.FFmpegError as error:
            self.errors.append(f"a packet near {float(seconds or 0):.3f} s could not be decoded: {error.strerror}")
            return
        first_s = self.first_s
        self.count(packet, seconds)
        if first_s is None:  # some decoders (WMA) give nothing for the first packet
            times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base]
            self.first_s = times[0] if times else None
        for frame in frames:
            self._resample(frame)

    def finish(self) -> None:
        try:
            frames = cast("list[av.AudioFrame]", self.source.decode(None))  # type: ignore[attr-defined]
        except av.error.FFmpegError:
            frames = []
        for frame in frames:
            self._resample(frame)
        self._resample(None)
        for packet in cast("av.AudioStream", self.output).encode(None):
            self.put(packet, packet_seconds(packet))

    def _resample(self, frame: av.AudioFrame | None) -> None:
        context = cast("av.AudioStream", self.output).codec_context
        if frame is not None:
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self.resampler is not None and form != self._form:
                self._encode(self.resampler.resample(None))
                self.resampler = None
            if self.resampler is None:
                size = getattr(context, "frame_size", 0) or 1024
                self.resampler, self._form = AudioResampler(context.format, context.layout, context.sample_rate, size), form
        if self.resampler is not None:
            self._encode(self.resampler.resample(frame))

    def _encode(self, frames: list[av.AudioFrame]) -> None:
        output = cast("av.AudioStream", self.output)
        for frame in frames:
            for packet in output.encode(frame):
                self.put(packet, packet_seconds(packet))


def codec_name(stream: av.stream.Stream) -> str:
    """FFmpeg's name of the codec; the container's where FFmpeg knows none, such as "camm"; the type of stream where neither does."""
    if stream.codec_context is not None:
        return stream.codec_context.codec.canonical_name
    tag = stream_of(stream).codecpar.contents.codec_tag.to_bytes(4, "little")
    return tag.decode() if tag.isalnum() and tag.isascii() else stream.type
