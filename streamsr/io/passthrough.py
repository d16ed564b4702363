"""The streams beside the video: copied as they are, converted where the container requires it, or dropped with a message.

An input stream becomes a Track: `mux(packet)` for each of its packets, `finish()` at the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import av
import av.error
from av.stream import AttachmentStream, Disposition
from av.subtitles.codeccontext import SubtitleCodecContext

from .audio_choice import choose_audio
from .containers import OutputFormat
from .text_track import TextTrack
from .tracks import AudioTrack, Track, codec_name

if TYPE_CHECKING:
    from .source import Source

# avformat cannot tell for mpegts (its query function knows nothing), so: ISO/IEC 13818-1, ATSC, DVB, Blu-ray. Not TrueHD: its packets are
# closer together than the clock of the packets around them, and a sixth was lost
_MPEGTS = {"aac", "aac_latm", "mp2", "mp3", "ac3", "eac3", "dts", "opus", "s302m", "dvb_subtitle", "dvb_teletext",
           "hdmv_pgs_subtitle", "h264", "hevc", "mpeg2video", "mpeg1video", "av1"}  # fmt: skip
_PARTICULAR = ("mp4", "mov", "matroska", "webm")  # muxers that list codecs whose headers they then refuse
COVERS = {"mjpeg": "jpg", "png": "png"}  # codec: ending
REELS = ("mov",)  # muxers that hold the name of a reel
_DATA = ("gpmd",)  # data tracks of mp4 and mov that FFmpeg describes in the file; of others it would write samples without a kind
_TEXT = {"subrip", "ass", "ssa", "mov_text", "webvtt", "text"}
_TITLES = {"title", "artist", "album", "comment", "date", "description", "genre", "copyright"}
_STALE = ("BPS", "DURATION", "NUMBER_OF_", "_STATISTICS_", "ENCODER")  # what a muxer says of the packets it wrote itself


def open_tracks(
    streams: Iterable[av.stream.Stream], container: av.container.OutputContainer, output: OutputFormat,
    *, write: Callable[[av.Packet], None] | None = None, covers: Mapping[int, bytes] | None = None,
) -> tuple[list[Track], list[str]]:
    """Add an output stream for each input stream that the container can hold; a message for each that is dropped or converted.

    write: where the packets go, instead of into the container. covers: cover pictures by the index of their stream.
    """  # fmt: skip
    held = output.audio_codecs if output.audio_codecs is not None else _MPEGTS if output.muxer == "mpegts" else container.supported_codecs
    tracks: list[Track] = []
    lost: list[str] = []
    for stream in streams:
        name = codec_name(stream)
        if stream.type == "data" and _is_remade(stream, output):
            continue
        if stream.type == "video" and stream.disposition & Disposition.attached_pic:
            title = f"cover picture #{stream.index} ({name})"
            if output.attachments and name in COVERS and stream.index in (covers or {}):
                container.add_attachment(f"cover.{COVERS[name]}", f"image/{name.replace('mjpeg', 'jpeg')}", (covers or {})[stream.index])
                continue
            if output.muxer == "mov" and name in COVERS and stream.index in (covers or {}):
                continue  # the Sink puts it into the finished file, streamsr.io.mov_cover
            if output.muxer != "mp4" or name not in COVERS:
                lost.append(f"{title} dropped: {output.muxer} has no place for it")
                continue
        try:
            track, why = _open_track(stream, name, container, output, held, write or container.mux)
        except (ValueError, av.error.FFmpegError) as error:
            track, why = None, str(error)
        if track is None:
            lost.append(f"{_title(stream, name)} dropped: {why}")
            continue
        if stream.type != "attachment":
            copy_metadata(stream, track.output)
            track.kind = stream.type
            tracks.append(track)
        if isinstance(track, TextTrack | AudioTrack):
            lost.append(f"{_title(stream, name)} converted to {track.output.codec_context.name}{f', {why}' if why else ''}")
    return tracks, lost


def lost_words(source: Source, output: OutputFormat) -> list[str]:
    """Messages about what the container cannot store besides streams: chapters, titles, names of services, a reel's name."""
    lost = []
    chapters, container = source.container.chapters(), source.container
    if chapters and not output.chapters:
        lost.append(f"{len(chapters)} chapters dropped: {output.muxer} has none")
    if not output.titles:
        titles = [f"{name}={container.metadata[name]!r}" for name in container.metadata if name.lower() in _TITLES]
        if titles:
            lost.append(f"metadata {', '.join(titles)} dropped: {output.muxer} has no place for it")
    if not output.services and (source.service.name or source.service.provider):
        names = f"{source.service.name!r} by {source.service.provider!r}"
        lost.append(f"name of the service {names} dropped: {output.muxer} has no place for it")
    if output.raw in ("gif", "apng") and source.tags.hdr:
        lost.append(f"HDR dropped: {output.muxer} is sRGB, and its pictures will look pale")
    if output.raw == "gif":
        if source.tags.sar != 1:
            lost.append(f"pixel aspect {source.tags.sar} dropped: gif viewers assume square pixels")
        lost.append("gif holds 256 colours a picture, and pixels that are opaque or transparent")
    reel = reel_name(source)
    if reel is not None and output.muxer not in REELS:
        lost.append(f"reel name {reel!r} dropped: {output.muxer} has no place for it")
    return lost


def reel_name(source: Source) -> str | None:
    """The name of the reel that a camera's time code is of."""
    return next((stream.metadata["reel_name"] for stream in source.container.streams if "reel_name" in stream.metadata), None)


def copy_metadata(stream: av.stream.Stream, output: av.stream.Stream) -> None:
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
        same = output.muxer == "mpegts" and stream.container.format.name == "mpegts"
        if not same and not (output.muxer in ("mp4", "mov") and name in _DATA and _takes(stream, output)):
            return None, f"{output.muxer} has no place for this data"
        return Track(stream, container.add_stream_from_template(stream), container, write), ""
    if stream.codec_context is None:
        return None, "FFmpeg does not know its codec"
    context = stream.codec_context
    names = {name, stream.codec_context.name, stream.codec_context.codec.canonical_name}
    if names & set(held) and output.audio_rate_hz in (None, getattr(context, "sample_rate", None)) and (
        write != container.mux or _takes(stream, output)
    ):
        added = container.add_stream_from_template(stream, opaque=True)
        if isinstance(added, av.AudioStream):
            _name_channels(added)
        # Matroska says how much of the audio is priming, so from one Matroska file to another its times below 0 fit
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
        return TextTrack(stream, text, container, write, overlaps=output.text != "mov_text"), ""
    if isinstance(context, av.AudioCodecContext):
        choice = choose_audio(context, output)
        if choice is None:
            return None, f"{output.muxer} does not take it, and no encoder takes {context.layout.name} at {context.sample_rate} Hz"
        audio = container.add_stream(choice.encoder, rate=choice.rate, bit_rate=choice.bit_rate)
        assert isinstance(audio, av.AudioStream)
        audio.codec_context.layout, audio.codec_context.format = choice.layout, choice.format
        return AudioTrack(stream, audio, container, write), f"{context.layout.name} became {choice.layout}" if choice.is_mixed else ""
    return None, f"{output.muxer} cannot hold {name}"


def _takes(stream: av.stream.Stream, output: OutputFormat) -> bool:
    """Whether the muxer takes the packets as they are: asked by writing a header with nothing else."""
    if output.muxer not in _PARTICULAR:
        return True
    try:
        # without the muxer's options: FFmpeg ends the process where a fragmented mp4 is closed before its first packet
        with av.open(os.devnull, "w", format=output.muxer) as trial:
            added = trial.add_stream_from_template(stream, opaque=True)
            if isinstance(added, av.AudioStream):
                _name_channels(added)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _name_channels(added: av.AudioStream) -> None:
    """An AVI says "2 channels" without saying which; mp4 and the encoders want a layout."""
    layout = added.codec_context.layout
    usual = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(layout.nb_channels)
    if usual is not None and all(channel.name == "NONE" for channel in layout.channels):
        added.codec_context.layout = usual


def _title(stream: av.stream.Stream, name: str) -> str:
    language = f" ({stream.language})" if stream.language and stream.language != "und" else ""
    return f"stream #{stream.index} {stream.type} {name}{language}"


def _is_remade(stream: av.stream.Stream, output: OutputFormat) -> bool:
    """A chapter or timecode track of an mp4, which the muxer writes anew from the chapters and the metadata."""
    if not stream.container.format.name.startswith("mov"):
        return False
    is_timecode = "timecode" in stream.metadata and (output.chapters or output.muxer == "mxf")
    return is_timecode or (output.chapters and bool(stream.container.chapters()))
