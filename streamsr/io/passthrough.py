"""The streams beside the video: copied as they are, converted where the container wants it, or dropped with a word.

An input stream becomes a Track: `mux(packet)` for each of its packets, `finish()` at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import av
import av.error
from av.audio.resampler import AudioResampler
from av.stream import AttachmentStream, Disposition
from av.subtitles.codeccontext import SubtitleCodecContext

from .containers import OutputFormat
from .decoding import packet_seconds

# avformat cannot tell for mpegts (its query function knows nothing), so: ISO/IEC 13818-1, ATSC, DVB, Blu-ray
_MPEGTS = {"aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "opus", "s302m", "dvb_subtitle", "dvb_teletext",
           "hdmv_pgs_subtitle", "h264", "hevc", "mpeg2video", "mpeg1video", "av1"}  # fmt: skip
_MP4_ONLY = {"flac", "opus", "truehd"}  # libavformat/movenc.c lists them for mov too, and then refuses the header
_TEXT = {"subrip", "ass", "ssa", "mov_text", "webvtt", "text"}
_STALE = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_", "ENCODER")  # what a muxer says of the packets it wrote itself


@dataclass(slots=True)
class Track:
    """One output stream beside the video."""

    source: av.stream.Stream
    output: av.stream.Stream
    container: av.container.OutputContainer
    write: Callable[[av.Packet], None]  # takes each packet of `output`
    negative: bool = True  # the container holds times before 0
    num_packets: int = 0
    first_s: Fraction | None = None  # time of the first packet
    errors: list[str] = field(default_factory=list)

    @property
    def is_copied_whole(self) -> bool:
        """Whether a reader of the output finds the packets that went in: PCM is cut anew, mpegts joins what is short."""
        name = _codec_name(self.source)
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
            return  # an encoder's priming, cut off by the player; to hold it, Matroska would move every stream later
        if self.first_s is None:
            self.first_s = seconds
        packet.stream = self.output
        try:
            self.write(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:  # a damaged packet, or one out of order
            self.errors.append(f"a packet near {float(seconds):.3f} s was left out: {error.strerror}")
            return
        self.num_packets += 1

    def trouble(self) -> str:
        """Words for what went wrong."""
        more = f" ({len(self.errors)} such packets)" if len(self.errors) > 1 else ""
        return f"{self.output.type} #{self.source.index}: {self.errors[0]}{more}"

    def finish(self) -> None:
        """Write what is still held back."""


@dataclass(slots=True)
class TextTrack(Track):
    """Text subtitles in the container's own codec, through FFmpeg's ASS form."""

    def mux(self, packet: av.Packet) -> None:
        decoder, encoder = self.source.codec_context, self.output.codec_context
        assert isinstance(decoder, SubtitleCodecContext)
        assert isinstance(encoder, SubtitleCodecContext)
        try:
            subtitle = decoder.decode2(packet)
            if subtitle is None:
                return
            encoded = encoder.encode_subtitle(subtitle)
        except av.error.FFmpegError as error:
            self.errors.append(str(error))
            return
        encoded.time_base, encoded.pts, encoded.dts = packet.time_base, packet.pts, packet.pts
        encoded.duration = packet.duration or 0
        encoded.stream = self.output
        self.write(encoded)
        self.num_packets += 1


@dataclass(slots=True)
class AudioTrack(Track):
    """Sound in the container's own codec."""

    resampler: AudioResampler | None = None

    def mux(self, packet: av.Packet) -> None:
        try:
            frames = cast("list[av.AudioFrame]", packet.decode())
        except av.error.FFmpegError as error:
            self.errors.append(str(error))
            return
        for frame in frames:
            self._encode(frame)

    def finish(self) -> None:
        self._encode(None)
        for packet in cast("av.AudioStream", self.output).encode(None):
            self.write(packet)

    def _encode(self, frame: av.AudioFrame | None) -> None:
        output = cast("av.AudioStream", self.output)
        context = output.codec_context
        if self.resampler is None:
            size = getattr(context, "frame_size", 0) or 1024
            self.resampler = AudioResampler(context.format, context.layout, context.sample_rate, size)
        for resampled in self.resampler.resample(frame):
            for packet in output.encode(resampled):
                self.write(packet)
                self.num_packets += 1


def open_tracks(
    streams: Iterable[av.stream.Stream], container: av.container.OutputContainer, output: OutputFormat,
    *, write: Callable[[av.Packet], None] | None = None,
) -> tuple[list[Track], list[str]]:
    """Add an output stream for each input stream that the container can hold; words for each that is dropped or converted.

    write: where the packets go, instead of into the container.
    """  # fmt: skip
    held = output.sounds if output.sounds is not None else _MPEGTS if output.muxer == "mpegts" else container.supported_codecs
    if output.muxer == "mov":
        held = held - _MP4_ONLY
    tracks: list[Track] = []
    lost: list[str] = []
    for stream in streams:
        name = _codec_name(stream)
        if stream.type == "data" and _is_remade(stream, output):
            continue
        try:
            track, why = _open_track(stream, name, container, output, held, write or container.mux)
        except (ValueError, av.error.FFmpegError) as error:
            track, why = None, str(error)
        if track is None:
            lost.append(f"{_title(stream, name)} dropped: {why}")
            continue
        if stream.type != "attachment":
            copy_words(stream, track.output)
            tracks.append(track)
        if isinstance(track, TextTrack | AudioTrack):
            lost.append(f"{_title(stream, name)} converted to {track.output.codec_context.name}")
    return tracks, lost


def copy_words(stream: av.stream.Stream, output: av.stream.Stream) -> None:
    """Metadata, language and disposition of `stream`, without the counts that its muxer wrote."""
    output.metadata.update({k: v for k, v in stream.metadata.items() if not k.upper().startswith(_STALE)})
    output.disposition = stream.disposition


def _open_track(
    stream: av.stream.Stream, name: str, container: av.container.OutputContainer, output: OutputFormat,
    held: Sequence[str] | Set[str], write: Callable[[av.Packet], None],
) -> tuple[Track | None, str]:
    if output.audio is None:
        return None, f"{output.muxer} holds video alone"
    if isinstance(stream, AttachmentStream):
        if not output.attachments:
            return None, f"{output.muxer} has no attachments"
        attached = container.add_attachment(stream.name or "attachment", stream.mimetype or "application/octet-stream", stream.data)
        return Track(stream, attached, container, write), ""
    if stream.type == "data":
        if output.muxer != "mpegts" or stream.container.format.name != "mpegts":
            return None, f"{output.muxer} has no place for this data"
        return Track(stream, container.add_stream_from_template(stream), container, write), ""
    if stream.codec_context is None:
        return None, "FFmpeg does not know its codec"
    context = stream.codec_context
    names = {name, stream.codec_context.name, stream.codec_context.codec.canonical_name}
    if names & set(held):
        added = container.add_stream_from_template(stream, opaque=True)
        if isinstance(added, av.AudioStream):
            _name_channels(added)
        # Matroska says how much of the sound is priming, so from one Matroska file to another its times below 0 fit
        negative = output.negative or stream.container.format.name.startswith("matroska")
        return Track(stream, added, container, write, negative), ""
    if stream.type == "subtitle" and name in _TEXT and output.text is not None:
        text = container.add_stream(output.text)
        assert isinstance(context, SubtitleCodecContext)
        assert isinstance(text.codec_context, SubtitleCodecContext)
        assert stream.time_base is not None
        context.open(strict=False)
        text.codec_context.subtitle_header = context.subtitle_header
        text.time_base = text.codec_context.time_base = stream.time_base
        return TextTrack(stream, text, container, write), ""
    if isinstance(context, av.AudioCodecContext):
        rate = context.sample_rate
        if output.audio == "libopus" and rate not in (8000, 12000, 16000, 24000, 48000):
            rate = 48000
        sound = container.add_stream(output.audio, rate=rate, bit_rate=96_000 * max(1, context.channels))
        assert isinstance(sound, av.AudioStream)
        sound.codec_context.layout = context.layout
        _name_channels(sound)
        return AudioTrack(stream, sound, container, write), ""
    return None, f"{output.muxer} cannot hold {name}"


def _name_channels(added: av.AudioStream) -> None:
    """An AVI says "2 channels" without saying which; mp4 and the encoders want a layout."""
    layout = added.codec_context.layout
    usual = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(layout.nb_channels)
    if usual is not None and all(channel.name == "NONE" for channel in layout.channels):
        added.codec_context.layout = usual


def _codec_name(stream: av.stream.Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else stream.type


def _title(stream: av.stream.Stream, name: str) -> str:
    language = f" ({stream.language})" if stream.language and stream.language != "und" else ""
    return f"stream #{stream.index} {stream.type} {name}{language}"


def _is_remade(stream: av.stream.Stream, output: OutputFormat) -> bool:
    """A chapter or timecode track of an mp4, which the muxer writes anew from the chapters and the metadata."""
    return output.chapters and stream.container.format.name.startswith("mov") and bool(
        stream.container.chapters() or "timecode" in stream.metadata
    )
