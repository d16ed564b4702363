"""Decoding the video: damaged packets are skipped and counted, and the last frames always come out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

import av
import av.error
from av.codec.context import Flags, ThreadType
from av.codec.hwaccel import HWAccel

from ..errors import SourceError

_LONGEST_S = 60  # of a packet of audio or a text
_HELD_BACK = 64  # frames that a decoder with many threads may hold back, rounded up
_MAX_GROUP = 2000  # packets that are kept at most for Note [Last frames]


@dataclass(slots=True)
class SourceCount:
    """What happened while reading."""

    num_decoded: int = 0  # frames delivered
    num_outside: int = 0  # decoded, but outside --start/--end
    num_corrupt_packets: int = 0
    num_repaired_pts: int = 0  # missing or not increasing; a later time was given
    num_deinterlaced: int = 0
    first_error: str | None = None
    notes: list[str] = field(default_factory=list)

    def add_damage(self, error: Exception) -> None:
        """Count one packet that could not be used."""
        self.num_corrupt_packets += 1
        self.first_error = self.first_error or str(error)


class Decoder:
    """Turns the packets of one video stream into frames.

    Note [Last frames]: a decoder with threads holds some frames back until it is flushed. PyAV stops receiving at the
    first error, and cannot ask again once the end was announced, so a damaged packet near the end would take good
    frames after it along. The last packets are kept, from a key frame on; those without a frame are decoded again by one
    thread.
    """

    is_trusted = True  # gives every frame at the end, where no packet was damaged

    def __init__(
        self, stream: av.VideoStream, count: SourceCount, *, url: str, max_errors: int, threads: int, low_delay: bool = False
    ) -> None:
        """low_delay: hold no frame back for the sake of speed; nothing is decoded again at the end."""
        self.count, self.url, self.max_errors = count, url, max_errors
        self._low_delay = low_delay
        self._stream = stream
        self._errors_in_row = 0
        self._groups: deque[list[av.Packet]] = deque([[]])  # each starts with a key frame
        self._delivered: deque[int | None] = deque(maxlen=2 * _MAX_GROUP)
        self._context = stream.codec_context
        if self._wants_libvpx():
            self._context = self._open_another()
        self._context.thread_type = ThreadType.SLICE if low_delay else ThreadType.AUTO
        if low_delay:
            self._context.flags |= Flags.low_delay
        self._context.thread_count = threads

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """Frames that are ready after this packet. Raises SourceError after many errors in a row."""
        self._remember(packet)
        try:
            frames = self._send(packet)
        except av.error.EOFError as error:  # from data that only looks like the end: what is held back is decoded again
            self.count.add_damage(error)
            return []
        except av.error.FFmpegError as error:
            self._errors_in_row += 1
            self.count.add_damage(error)
            if self._errors_in_row > self.max_errors:
                message = f"{self.url}: {self._errors_in_row} corrupt packets in a row near {describe_time(packet)}."
                raise SourceError(message, hint="raise --max-errors to go on") from error
            return []
        self._errors_in_row = 0
        return self._deliver(frames)

    def _send(self, packet: av.Packet) -> list[av.VideoFrame]:
        try:
            return self._context.decode(packet)
        except av.error.BlockingIOError as error:
            # PyAV stops receiving at damaged data, and what waits behind it blocks the next packet: start afresh
            self.count.add_damage(error)
            depth = self._context.reorder_depth
            self._context.flush_buffers()
            self._context.reorder_depth = depth  # which flushing forgets
            return self._context.decode(packet)

    def _remember(self, packet: av.Packet) -> None:
        """See Note [Last frames]."""
        if self._low_delay:
            return
        if packet.is_keyframe:
            self._groups.append([])
        if len(self._groups[-1]) < _MAX_GROUP:
            self._groups[-1].append(packet)
        while sum(map(len, self._groups)) - len(self._groups[0]) >= _HELD_BACK:
            self._groups.popleft()

    def finish(self) -> list[av.VideoFrame]:
        """The frames that the decoder still holds; call once, at the end."""
        frames: list[av.VideoFrame] = []
        try:
            frames = self._context.decode(None)
        except av.error.EOFError:
            pass
        except av.error.FFmpegError as error:
            self.count.add_damage(error)
        delivered = self._deliver(frames)
        return delivered + self._deliver(self._decode_again())

    def _decode_again(self) -> list[av.VideoFrame]:
        """See Note [Last frames]."""
        known = set(self._delivered)
        packets = [packet for group in self._groups for packet in group]
        # not only after an error: one in the last packets, met while the decoder is flushed, PyAV takes for its end
        if all(packet.pts is None or packet.pts in known or packet.is_discard for packet in packets):
            return []
        context = self._open_another()
        context.thread_type, context.thread_count = ThreadType.SLICE, 1
        last = max((pts for pts in known if pts is not None), default=None)
        found = []
        for packet in (*packets, None):
            try:
                found += context.decode(packet)
            except av.error.FFmpegError:
                continue  # counted the first time
        return [frame for frame in found if frame.pts is not None and (last is None or frame.pts > last)]

    def _deliver(self, frames: list[av.VideoFrame]) -> list[av.VideoFrame]:
        self._delivered.extend(frame.pts for frame in frames)
        return frames

    def _wants_libvpx(self) -> bool:
        """FFmpeg's own decoders of VP8 and VP9 leave alpha out."""
        return self._stream.metadata.get("alpha_mode") == "1" and self._stream.codec_context.codec.canonical_name in ("vp8", "vp9")

    def _open_another(self) -> av.VideoCodecContext:
        own = self._stream.codec_context
        name = own.codec.name
        if self._wants_libvpx():
            vpx = "libvpx" if own.codec.canonical_name == "vp8" else "libvpx-vp9"
            name = vpx if vpx in av.codecs_available else name
        return open_context(self._stream, name)


def open_context(stream: av.VideoStream, codec: str, hwaccel: HWAccel | None = None) -> av.VideoCodecContext:
    """A further decoder for the packets of `stream`, with the container's parameters. codec: FFmpeg's name of the decoder.

    Raises FFmpeg's errors.
    """
    own = stream.codec_context
    context = av.CodecContext.create(codec, "r", hwaccel=hwaccel)
    assert isinstance(context, av.VideoCodecContext)
    context.extradata = own.extradata
    context.codec_tag = own.codec_tag
    context.width, context.height = own.width, own.height
    # H.264 may not say by how many frames it reorders. FFmpeg counted them when it opened the file; without that, a frame
    # that comes later than expected is lost (tests/io/test_nvdec.py)
    context.reorder_depth = own.reorder_depth
    return context


def packet_seconds(packet: av.Packet) -> Fraction | None:
    """Presentation time, or decoding time where there is none."""
    time = packet.pts if packet.pts is not None else packet.dts
    return None if time is None or packet.time_base is None else time * packet.time_base


def settle_time(packet: av.Packet, container: av.container.InputContainer) -> None:
    """An AVI stores decoding times only, and PyAV lets FFmpeg derive presentation times: a frame late where nothing is reordered."""
    if container.format.name == "avi" and packet.dts is not None and isinstance(packet.stream, av.VideoStream):
        context = packet.stream.codec_context
        if context is not None and not context.reorder_depth:
            packet.pts = packet.dts


def duration_s(packet: av.Packet) -> Fraction:
    """The duration that the packet declares, 0 if that is implausible (Ogg, after a seek)."""
    found = (packet.duration or 0) * packet.time_base if packet.time_base is not None else Fraction(0)
    return found if 0 <= found <= _LONGEST_S else Fraction(0)


def describe_time(packet: av.Packet) -> str:
    seconds = packet_seconds(packet)
    return "an unknown time" if seconds is None else f"{float(seconds):.3f} s"
