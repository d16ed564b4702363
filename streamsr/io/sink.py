"""Sink: upscaled frames go in, a file appears under its name when all of it is there.

The file grows as `NAME.partial.EXT` beside the output and is renamed by `commit`. After an interruption the partial
file is closed properly, so that what is done plays.
"""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import av.error

from ..errors import SinkError, UsageError
from ..frame import sample_format
from ..options import SinkOptions
from ..output_file import OutputLock
from .animation import animation_options
from .containers import APNG, GIF, find_format, is_pattern
from .decoding import packet_seconds
from .disk import BUFFER_BYTES, Disk, DiskFile
from .encoder_settings import Encoding, explain_disk, reason_of
from .mov_cover import add_covers
from .muxing import copy_container_metadata, holds_cover, muxer_options, own_metadata
from .output_check import partial_path
from .passthrough import COVERS, lost_words, open_tracks
from .source import Source
from .stills import UPRIGHT
from .tags import Tags
from .text_track import TextTrack
from .tracks import Track, codec_name


class Sink:
    """An open output for frames of one size and format.

    `write` frames, `copy` packets of the source's other streams, then `commit` or `abandon`.
    Raises SinkError for whatever the encoder or the disk refuses.
    """

    def __init__(
        self, url: str | Path, source: Source, first: av.VideoFrame, options: SinkOptions | None = None, *, lock: OutputLock | None = None,
        target: str | None = None,
    ) -> None:  # fmt: skip
        """lock: to be given up at the end; the caller holds it where it is None.

        target: the file to write into for a rehearsal; it gets frames, but no packets of other streams.
        """
        self.url = str(url)
        self.options = options or SinkOptions()
        self.format = find_format(self.url, self.options.format)
        self.path = target or partial_path(self.url, self.format)
        self.num_encoded = 0
        self.pts: array[int] = array("q")  # of every frame encoded, in ticks of time_base
        self.muxed_pts: array[int] = array("q")  # of every packet muxed, in ticks of time_base
        self.time_base = source.time_base
        # seconds taken off every time in the file, where its first picture is at 0
        self._origin = (first.pts or 0) * (first.time_base or source.time_base) if self.format.from_zero else Fraction(0)
        self.losses: list[str] = []
        self._covers: list[tuple[str, bytes]] = []  # (codec, file), which the muxer has no place for and the file has
        self._finished = False
        self._is_rehearsal = target is not None
        self._lock = lock
        self._disk = Disk()
        try:
            self._open(source, first)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.abandon(keep=False)
            raise self._sink_error(error) from error
        except BaseException:
            self.abandon(keep=False)
            raise

    @property
    def encoder(self) -> str:
        """FFmpeg's name of the video encoder."""
        return self.encoding.encoder

    @property
    def tags(self) -> Tags:
        """Of the encoded pictures."""
        return self.encoding.tags

    def write(self, frame: av.VideoFrame) -> None:
        """Encode one frame and write what comes out."""
        if self.format.images and not is_pattern(self.url) and self.num_encoded:
            hint = "--frames 1, or a pattern such as out/%05d.png"
            raise UsageError(f"{self.url} is one image, but there is more than one frame.", hint=hint)
        try:
            frame = self.encoding.prepare(frame)
            assert frame.pts is not None
            self.pts.append(frame.pts)
            frame.pts -= round(self._origin / self.time_base)
            self._attached.take(frame)
            self._encode(frame)
            self.num_encoded += 1
        except (av.error.FFmpegError, OSError) as error:
            raise self._sink_error(error) from error

    def join(self, packets: Iterable[av.Packet]) -> None:
        """Write packets of the video from an encoder with the same settings; `pts` is up to the caller."""
        try:
            for packet in packets:
                packet.stream = self.stream
                self._mux([packet])
                self.num_encoded += 1
        except (av.error.FFmpegError, OSError) as error:
            raise self._sink_error(error) from error

    def copy(self, packets: Iterable[av.Packet]) -> None:
        """Write packets of the source's other streams."""
        try:
            for packet in packets:
                track = self._by_index.get(packet.stream.index)
                if track is not None:
                    seconds = packet_seconds(packet)
                    self._mux_track(track, packet)
                    for text in self._texts:
                        text.advance(seconds or Fraction(0))
            self._disk.check()
        except (av.error.FFmpegError, OSError) as error:
            raise self._sink_error(error) from error

    def _mux_track(self, track: Track, packet: av.Packet) -> None:
        try:
            track.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            hint = "choose another container, such as .mkv"
            raise explain_disk(error, self.url) or SinkError(
                f"{self.url}: {track.kind} #{track.source.index} ({codec_name(track.source)}) was refused: {reason_of(error)}.", hint=hint
            ) from error

    def finish(self) -> None:
        """Flush the encoders and write the trailer; the file keeps its partial name."""
        if self._finished:
            return
        try:
            self._encode(None)
            self.lose(self._attached.lost)
            for track in self.tracks:
                track.finish()
            if self.options.strict and any(track.errors for track in self.tracks):
                raise strict_error([track.trouble() for track in self.tracks if track.errors])
            self.container.close()
            self._disk.settle()
            if self._covers and not add_covers(Path(self.path), self._covers):
                self.lose(["cover picture dropped: the index of the file is too large"])
            self._finished = True
        except (av.error.FFmpegError, OSError) as error:
            raise self._sink_error(error) from error

    def close_rehearsal(self) -> None:
        """Flush the encoder and close the file, the tracks left as they are. Raises SinkError."""
        try:
            self._encode(None)
            self.container.close()
            self._disk.settle()
            self._finished = True
        except (av.error.FFmpegError, OSError) as error:
            raise self._sink_error(error) from error

    def commit(self) -> None:
        """Give the finished file its name."""
        self.finish()
        if self.path != self.url:
            try:
                os.replace(self.path, self.url)
            except OSError as error:
                raise self._sink_error(error) from error
        self._unlock()

    def abandon(self, *, keep: bool) -> Path | None:
        """Close; with `keep`, finish the partial file and return its path if it holds frames, else delete it."""
        container = getattr(self, "container", None)
        kept = False
        if keep and container is not None and self.num_encoded and not self.format.images:
            try:
                self.finish()
                kept = True
            except SinkError:
                kept = False
        if container is not None and not self._finished:
            with suppress(av.error.FFmpegError, OSError, ValueError):  # the error that led here is the one to tell
                container.close()
            self._finished = True
        self._disk.close()
        self._unlock()
        if self.path == self.url or not Path(self.path).exists():
            return None
        if not kept:
            Path(self.path).unlink(missing_ok=True)
            return None
        return Path(self.path)

    def _open(self, source: Source, first: av.VideoFrame) -> None:
        self.encoding = Encoding.choose(
            source, (first.width, first.height), sample_format(first), output=self.format, wanted=self.options.encode
        )  # fmt: skip
        own, has_cover = own_metadata(source), holds_cover(source, self.format)
        wanted = muxer_options(self.format, self.time_base, has_own=bool(own), has_cover=has_cover, is_pipe=self.path == "-")
        self._open_container(wanted | (animation_options(source, self.format) if self.format in (GIF, APNG) else {}))
        self.stream = self.encoding.add_stream(self.container)
        write = self._mux_moved if self._origin else None
        # without packets of every track, which a rehearsal has not, MXF is not written at all
        streams = [] if self._is_rehearsal and self.format.muxer == "mxf" else source.other_streams
        covers = source.covers()
        if self.format.muxer == "mov":
            covers = {} if self.path == "-" else covers
            names = {stream.index: codec_name(stream) for stream in source.other_streams}
            self._covers = [(names[index], data) for index, data in covers.items() if names[index] in COVERS]
        self.tracks, lost = open_tracks(streams, self.container, self.format, write=write, covers=covers)
        self._by_index: dict[int, Track] = {track.source.index: track for track in self.tracks}
        self._texts = [track for track in self.tracks if isinstance(track, TextTrack)]
        lost += lost_words(source, self.format)
        if has_cover and own:
            lost.append(f"metadata {', '.join(sorted(own))} dropped: beside a cover picture mp4 has no place for it")
        if not self._is_rehearsal:
            source.copy([track.source for track in self.tracks])
        copy_container_metadata(source, self.container, self.stream, self.format)
        if self.tags.rotation and not self.format.rotation and not (self.format.images and self.encoder in UPRIGHT):
            lost.append(f"rotation by {self.tags.rotation} degrees dropped: {self.format.muxer} cannot say it")
        self.losses = [*self.encoding.losses, *lost]
        dropped = [*self.encoding.losses, *(words for words in lost if " dropped: " in words)]
        if self.options.strict and dropped:
            raise strict_error(dropped)
        self._start()

    def _open_container(self, options: dict[str, str]) -> None:
        target: str | DiskFile = "pipe:1" if self.path == "-" else self.path
        if self.path != self.url and not self.format.images:
            target = self._disk.open(self.path)
        io_open = self._disk.lend if self.format.images else None  # FFmpeg opens these itself
        self.container = av.open(
            target, "w", format=self.format.muxer, container_options=options, buffer_size=BUFFER_BYTES, io_open=io_open
        )  # fmt: skip

    def _start(self) -> None:
        """Open the encoders and write the header now, so that what they refuse is known before any work."""
        self._attached = self.encoding.open_codec(self.stream)
        try:
            self.container.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EPIPE):
                raise
            held = ", ".join([self.encoder, *(track.output.codec_context.name for track in self.tracks if track.output.codec_context)])
            hint = "choose another container, such as .mkv, or another --encoder"
            raise SinkError(f"{self.url}: {self.format.muxer} does not take {held}: {reason_of(error)}.", hint=hint) from error

    def lose(self, words: Iterable[str]) -> None:
        """Note what is lost, once. Raises SinkError with --strict."""
        new = [loss for loss in words if loss not in self.losses]
        self.losses += new
        if new and self.options.strict:
            raise strict_error(new)

    def _encode(self, frame: av.VideoFrame | None) -> None:
        self._mux(self._attached.put(self.stream.encode(frame), size=(self.tags.width, self.tags.height)))

    def _mux(self, packets: Iterable[av.Packet]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self.muxed_pts.append(round((packet.pts * packet.time_base + self._origin) / self.time_base))
            self.container.mux(packet)
        self._disk.check()

    def _mux_moved(self, packet: av.Packet) -> None:
        ticks = round(self._origin / packet.time_base)
        packet.pts, packet.dts = (None if time is None else time - ticks for time in (packet.pts, packet.dts))
        self.container.mux(packet)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _sink_error(self, error: Exception) -> SinkError:
        error = self._disk.failure or error
        if hasattr(self, "encoding"):
            return self.encoding.explain(error, self.url)
        return explain_disk(error, self.url) or SinkError(f"{self.url}: {reason_of(error)}.", hint="try another --encoder")


def open_sink(url: str | Path, source: Source, first: av.VideoFrame, options: SinkOptions | None = None) -> Sink:
    """Open an output for frames like `first`; the streams beside the video come from `source`. Raises SinkError."""
    return Sink(url, source, first, options, lock=OutputLock(str(url)))


def strict_error(losses: Iterable[str]) -> SinkError:
    """What --strict makes of losses."""
    return SinkError(f"--strict: {'; '.join(losses)}.", hint="choose another container or encoder, such as .mkv with libx265")
