"""Session: one connection to a source, from opening to the end; pictures and packets of audio as they come."""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import av.error

from ..errors import SourceError, UsageError
from ..io.crop import check_crop, cropped
from ..io.decoding import Decoder, SourceCount, packet_seconds
from ..io.deinterlace import deinterlace
from ..io.input_container import open_input, pick_video
from ..io.tags import Tags, read_tags
from ..options import LiveOptions, SourceOptions
from .address import DEVICE, check_host, input_options, is_paced, scheme_of
from .redaction import redact, redact_text
from .srt import SrtFile

_WAITED_S = 0.0005  # a read that took longer had to wait for the network
_MOST_PIXELS = 2_600_000  # larger pictures need several decoder threads, at the price of a frame's delay each
_KNOWN_ARRIVALS = 64
_MIN_PACKETS, _MIN_SHARE = 8, 4  # of so many packets at least one in four has to be a picture; two fields make one


class RefusedError(SourceError):
    """Permanent connection failure: wrong password, no such stream."""


@dataclass(slots=True)
class Arrival:
    """A decoded picture, or a packet of audio."""

    item: av.VideoFrame | av.Packet
    media_s: float  # on the source's clock
    arrived: float  # when its packet had been read, monotonic seconds
    fresh: bool  # the reader had to wait for it
    audio: int | None = None  # the number of the audio, None for a picture


class Session:
    """An open live source; iterate `arrivals()` once, then `close`.

    Raises SourceError where nothing comes within the timeout, RefusedError where asking again is pointless.
    """

    def __init__(self, url: str, options: SourceOptions, live: LiveOptions) -> None:
        self.url, self.options, self.live = url, options, live
        self.count = SourceCount()
        unknown = check_host(url)
        if unknown is not None:
            raise RefusedError(f"{redact(url)}: {unknown}.")
        if DEVICE.fullmatch(url) and not Path(url).exists():
            raise RefusedError(f"{url}: there is no such device.", hint="v4l2-ctl --list-devices names those that are there")
        self._file: SrtFile | None = None
        started = time.monotonic()
        try:
            options = replace(options, timeout_s=live.timeout_s)
            if scheme_of(url) == "srt":
                self._file = SrtFile(url, timeout_s=live.timeout_s)
                options = replace(options, input_format=options.input_format or "mpegts")
            elif DEVICE.fullmatch(url):
                options = replace(options, input_format=options.input_format or "v4l2")
            self.container = open_input(url, options, protocol=input_options(url, live), file=self._file)
        except OSError as error:
            kind = RefusedError if is_refusal(error) else SourceError
            raise kind(f"{redact(url)}: {error.strerror or error}.") from None
        except SourceError as error:
            kind = RefusedError if is_refusal(error.__cause__) else SourceError
            if self._file is not None:
                self._file.close()
            if kind is SourceError and time.monotonic() - started >= 0.95 * live.timeout_s:  # FFmpeg calls silence invalid data
                hint = "check the address, or raise --timeout"
                raise SourceError(f"{redact(url)}: no answer within {live.timeout_s:g} s.", hint=hint) from None
            raise kind(redact_text(error.message, url), hint=error.hint and redact_text(error.hint, url)) from None
        try:
            self.stream = pick_video(self.container, redact(url))
            heard = [stream for stream in self.container.streams.audio if stream.codec_context is not None]
            self.audio_streams = [stream for stream in heard if stream.codec_context.sample_rate]
            self.num_silent = len(heard) - len(self.audio_streams)  # announced, but nothing came of it while the stream was opened
            context = self.stream.codec_context
            self._decoder = Decoder(
                self.stream, self.count, url=redact(url), max_errors=options.max_errors, threads=options.threads,
                low_delay=context.width * context.height <= _MOST_PIXELS,
            )  # fmt: skip
        except BaseException:
            self.close()
            raise
        self._numbers = {stream.index: number for number, stream in enumerate(self.audio_streams)}
        self._paced = is_paced(url)
        self._arrivals: OrderedDict[int | None, tuple[float, bool]] = OrderedDict()
        self._audio: deque[Arrival] = deque()
        self._origin: tuple[float, float] | None = None  # media and wall time that a paced source is held to

    @property
    def rate(self) -> Fraction:
        """Nominal frames per second; 25 if the stream does not declare one."""
        for rate in (self.stream.guessed_rate, self.stream.average_rate, self.stream.codec_context.framerate):
            if rate and 1 <= rate <= 240:
                return Fraction(rate).limit_denominator(1001)
        return Fraction(25)

    @property
    def audio_codecs(self) -> list[tuple[str, int, int]]:
        """What tells one audio from another: codec, rate, channels."""
        contexts = [stream.codec_context for stream in self.audio_streams]
        return [(context.name, context.sample_rate, context.channels) for context in contexts]

    def tags(self, frame: av.VideoFrame) -> Tags:
        return read_tags(self.stream, frame)

    def close(self) -> None:
        self.container.close()
        if self._file is not None:
            self._file.close()

    def arrivals(self) -> Iterator[Arrival]:
        """Everything in the order of its arrival, until the source ends. Raises SourceError when it is lost."""
        frames = self._decoded()
        if self.options.deinterlace in ("bob", "film"):
            raise UsageError(f"--deinterlace {self.options.deinterlace} is for files.", hint="auto, on and off are for live streams, too")
        if self.options.deinterlace != "off":
            frames = deinterlace(frames, every_frame=self.options.deinterlace == "on")
        frames = self._cropped(frames)
        media_s: float | None = None
        for frame in frames:
            yield from self._take_audio()
            arrived, fresh = self._arrivals.pop(frame.pts, (time.monotonic(), False))
            if frame.pts is not None and frame.time_base is not None:
                media_s = float(frame.pts * frame.time_base)
            else:  # no time at all: as if it came at the nominal rate
                self.count.num_repaired_pts += 1
                media_s = (0.0 if media_s is None else media_s) + 1 / float(self.rate)
            yield Arrival(frame, media_s, arrived, fresh)
        yield from self._take_audio()

    def _cropped(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """A part of the pictures; all of them where bars would have to be found, which takes moments that are not there yet."""
        crop, first = self.options.crop, next(frames, None)
        if first is None:
            return
        frames = itertools.chain([first], frames)
        if crop is not None and crop != "auto":
            check_crop(crop, first, url=redact(self.url))
            frames = cropped(frames, crop)
        yield from frames

    def _take_audio(self) -> Iterator[Arrival]:
        while self._audio:
            yield self._audio.popleft()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        watched = _Watched(self.live.timeout_s, redact(self.url))
        for packet, waited_s in self._demux():
            now = time.monotonic()
            if packet.stream.index == self.stream.index:
                self._pace(packet)
                if packet.pts is not None:
                    self._arrivals[packet.pts] = (now, waited_s > _WAITED_S)
                    if len(self._arrivals) > _KNOWN_ARRIVALS:
                        self._arrivals.popitem(last=False)
                frames = self._decoder.decode(packet)
                watched.packet(now, len(frames))
                yield from frames
            else:
                self._keep(packet, now, fresh=waited_s > _WAITED_S)
            watched.check(now)
        yield from self._decoder.finish()

    def _demux(self) -> Iterator[tuple[av.Packet, float]]:
        """Packets, and how long each was waited for."""
        packets = self.container.demux()
        failures = 0
        while True:
            at = time.monotonic()
            try:
                packet = next(packets, None)
            except av.error.ExitError:
                raise SourceError(f"{redact(self.url)} sent nothing for {self.live.timeout_s:g} s.") from None
            except av.error.InvalidDataError as error:
                failures += 1
                self.count.add_damage(error)
                if failures > self.options.max_errors:
                    raise SourceError(f"{redact(self.url)}: {failures} damaged packets in a row.") from None
                packets = self.container.demux()
                continue
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"{redact(self.url)}: {getattr(error, 'strerror', None) or type(error).__name__}.") from None
            if packet is None:
                return
            failures = 0
            if packet.size:
                yield packet, time.monotonic() - at

    def _keep(self, packet: av.Packet, now: float, *, fresh: bool) -> None:
        number = self._numbers.get(packet.stream.index)
        seconds = packet_seconds(packet)
        if number is not None and seconds is not None:
            self._audio.append(Arrival(packet, float(seconds), now, fresh, number))

    def _pace(self, packet: av.Packet) -> None:
        """Hold a source that hands over as fast as it is read to its own clock, or a segment would come at once and be late."""
        seconds = packet_seconds(packet)
        if not self._paced or seconds is None:
            return
        media_s, now = float(seconds), time.monotonic()
        if self._origin is None or abs(media_s - self._origin[0] - (now - self._origin[1])) > 10:
            self._origin = (media_s, now)
        ahead_s = media_s - self._origin[0] - (now - self._origin[1])
        if ahead_s > 0:
            time.sleep(ahead_s)


def is_refusal(error: BaseException | None) -> bool:
    """Whether an error on opening is permanent, so that retrying is pointless."""
    return isinstance(
        error,
        av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError | av.error.HTTPNotFoundError | av.error.HTTPBadRequestError
        | av.error.ProtocolNotFoundError | av.error.DemuxerNotFoundError | PermissionError,
    )  # fmt: skip


class _Watched:
    """Whether pictures come of what comes: a frozen camera may send audio, and another codec gives little but errors."""

    def __init__(self, timeout_s: float, name: str) -> None:
        self._timeout_s, self._name = timeout_s, name
        self._last = self._window = time.monotonic()
        self._num_packets = self._num_frames = 0

    def packet(self, now: float, num_frames: int) -> None:
        self._num_packets += 1
        self._num_frames += num_frames
        if num_frames:
            self._last = now

    def check(self, now: float) -> None:
        """Raises SourceError where pictures do not come any more."""
        if now - self._last > self._timeout_s:
            raise SourceError(f"{self._name} sent no picture for {self._timeout_s:g} s, though other data came.")
        if now - self._window <= self._timeout_s:
            return
        packets, frames = self._num_packets, self._num_frames
        self._window, self._num_packets, self._num_frames = now, 0, 0
        if packets >= _MIN_PACKETS and frames * _MIN_SHARE < packets:
            raise SourceError(f"{self._name}: of the last {packets} packets of its video only {frames} could be decoded.")
