"""LiveEncoder: frames and audio in, packets out, and the header that a publisher needs to send them anywhere, again and again."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import av
import av.error

from ..io.containers import OutputFormat
from ..io.encoder_settings import Encoding
from ..io.passthrough import open_tracks
from ..io.tags import Tags
from ..io.tracks import AudioTrack
from ..options import EncoderOptions
from .packet_ipc import EncodedPacket

TICKS = Fraction(1, 90_000)  # of the output's pictures
_BITS_A_PIXEL = 0.25  # at most; what x264 ultrafast wants at most for camera pictures at crf 23
_GAP_S = 0.1  # audio that is converted starts afresh behind a gap


@dataclass(frozen=True, slots=True)
class _Clocked:
    """The source as the encoder sees it: its pictures on the output's clock."""

    tags: Tags
    rate: Fraction
    time_base: Fraction = TICKS


class _Memory(io.BytesIO):
    def seekable(self) -> bool:
        return False


class LiveEncoder:
    """Encodes one stream of pictures and carries its audio. It stays while sinks and sources come and go.

    header: a NUT file with the streams and one empty packet each; `av.open(BytesIO(header))` gives templates for muxers.
    Raises SinkError for what the encoder refuses, UsageError for options that cannot be.
    """

    def __init__(
        self, first: av.VideoFrame, tags: Tags, rate: Fraction, audio_streams: Sequence[av.AudioStream], output: OutputFormat,
        wanted: EncoderOptions, *, is_network: bool,
    ) -> None:  # fmt: skip
        most = max(500_000, round(_BITS_A_PIXEL * first.width * first.height * rate)) if is_network else None
        wanted = replace(wanted, live=True, max_bit_rate_bps=wanted.max_bit_rate_bps or most)
        size = (first.width, first.height)
        self.encoding = Encoding.choose(_Clocked(tags, rate), size, first.format.name, output=replace(output, pts=True), wanted=wanted)
        self.name, self.tags = self.encoding.encoder, self.encoding.tags
        self.losses = list(self.encoding.losses)
        self.rate = rate
        self._parcels: list[EncodedPacket] = []
        self._last_dts: dict[int, int] = {}
        self._arrived: deque[float | None] = deque()  # of the frames in the encoder
        memory = _Memory()
        try:
            # kept, though closed at once: the streams belong to it
            with av.open(memory, "w", format="nut") as container:
                self._container = container
                self._stream = self.encoding.add_stream(container)
                self._context = self._stream.codec_context
                tracks, lost = open_tracks(audio_streams, container, output, write=self._keep)
                order = {stream.index: number for number, stream in enumerate(audio_streams)}
                self._tracks = {order[track.source.index]: track for track in tracks}  # by the number of the audio
                self.losses += lost
                self.encoding.open_codec(self._stream)
                container.start_encoding()
                for stream in container.streams.get():
                    packet = av.Packet(b"\0")
                    packet.pts = packet.dts = 0
                    packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 1000), True, stream
                    container.mux(packet)
        except (av.error.FFmpegError, ValueError) as error:
            raise self.encoding.explain(error, "the output") from error
        self.header = memory.getvalue()

    def encode(self, frame: av.VideoFrame, out_s: float, *, key: bool = False, arrived: float | None = None) -> list[EncodedPacket]:
        """Packets that are ready once this frame, shown at `out_s`, went in; key: make it a key frame."""
        frame = self.adapt(frame)
        frame.time_base, frame.pts = TICKS, round(out_s / TICKS)
        frame.duration = round(1 / self.rate / TICKS)
        frame.pict_type = av.video.frame.PictureType.I if key else av.video.frame.PictureType.NONE
        self._arrived.append(arrived)
        try:
            packets = self._context.encode(frame)
        except av.error.FFmpegError as error:
            raise self.encoding.explain(error, "the output") from error
        return [self._parcel(0, packet, self._arrived.popleft()) for packet in packets]

    def adapt(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame in the encoder's pixel format."""
        return self.encoding.prepare(frame)

    def finish(self) -> list[EncodedPacket]:
        """Packets that encoders still hold."""
        for track in self._tracks.values():
            track.finish()
        try:
            packets = self._context.encode(None)
        except av.error.FFmpegError:
            packets = []
        return [*self._take(), *(self._parcel(0, packet, self._arrived.popleft()) for packet in packets)]

    def carry(self, packet: av.Packet, number: int, out_s: float, *, restart: bool) -> list[EncodedPacket]:
        """Packets of audio number `number`, counted as the source counts, that begins at `out_s`.

        restart: it does not follow on the packet before.
        """
        track = self._tracks.get(number)
        if track is None or packet.time_base is None:
            return []
        packet.pts = packet.dts = round(Fraction(out_s) / packet.time_base)
        if restart and isinstance(track, AudioTrack):
            track.resampler = None  # counts samples from the first one on, so it would close every gap
        track.mux(packet)
        return self._take()

    def _keep(self, packet: av.Packet) -> None:
        parcel = self._parcel(packet.stream.index, packet, None)
        last = self._last_dts.get(parcel.stream)
        if last is None or parcel.dts > last:
            self._last_dts[parcel.stream] = parcel.dts
            self._parcels.append(parcel)

    def _take(self) -> list[EncodedPacket]:
        parcels, self._parcels = self._parcels, []
        return parcels

    def _parcel(self, stream: int, packet: av.Packet, arrived: float | None) -> EncodedPacket:
        assert packet.pts is not None
        dts = packet.pts if packet.dts is None else packet.dts
        return EncodedPacket(stream, bytes(packet), packet.pts, dts, packet.duration or 0, packet.time_base, packet.is_keyframe, arrived)
