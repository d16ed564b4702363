"""Source: decoded frames of a file, an image sequence or a pipe, and the packets of its other streams.

Order of the data: packets from FFmpeg -> decoder -> timestamps made whole -> bwdif where interlaced -> the crop -> the
range of --start/--end/--frames. Note [Shift]: what comes out is on the output's time line, `shift` seconds earlier than
the file's: the start of the range, or the start of a broadcast stream whose clock began before the recording.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import av.error
from av.stream import Disposition

from ..errors import SourceError
from ..frame import fetch
from ..options import Crop, SourceOptions
from .black_bars import NUM_MOMENTS, find_picture
from .clock import Clock
from .containers import is_pattern
from .coverage import Coverage
from .crop import check_crop, cropped
from .decoding import SourceCount, duration_s, packet_seconds
from .deinterlace import deinterlace, rearrange
from .frame_order import FrameOrder
from .frame_samples import can_look_ahead, spread_frames
from .input_container import count_untimed, has_restarts, open_input, pick_video, sequence_numbers
from .nvdec import open_decoder
from .pcm import trim_pcm
from .seeking import seek_key_frame
from .tags import Tags, read_tags
from .tracks import LONGEST_PRIMING_S, codec_name

_BITMAP_TEXT = ("dvd_subtitle", "hdmv_pgs_subtitle", "dvb_subtitle", "xsub")
_INTERLEAVE_S = 2  # how far streams of one file may lie apart


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the video that a Source reads, without the other streams: pts in ticks of its `time_base`."""

    key: int | None  # key frame to decode from; None: from the beginning
    first: int | None  # frames before this are left out, once they have served those behind them; None: nothing is


class Source:
    """An open input. Use as a context manager; iterate `frames()` once.

    Raises SourceError when there is nothing to read, no video in it, or no frame can be decoded; a window may be empty.
    """

    def __init__(self, url: str | Path, options: SourceOptions | None = None, *, window: Window | None = None) -> None:
        self.url = str(url)
        self.options = options or SourceOptions()
        self._window = window
        self.count = SourceCount()
        self._reading = threading.Lock()  # held while FFmpeg reads
        self._is_open_ended = self.options.num_frames is not None  # until the last frame wanted is there
        self._reached_s = Fraction(0)  # time of the last frame that was given
        self._handing = threading.Lock()  # held while _packets changes: one thread reads them, another takes them
        self.container = open_input(self.url, self.options)
        try:
            self.stream = pick_video(self.container, self.url)
            # seconds per tick of every frame's pts; kept, because a closed container has no streams to ask
            self.time_base: Fraction = self.stream.time_base or Fraction(1, 1000)
            # whether the clock began before the recording, so that its start means nothing
            self.is_broadcast = self.container.format.name in ("mpegts", "mpeg", "hls")
            self._clock = Clock()
            self.coverage = Coverage(self.url, self.container, self.stream)
            self.planned: Coverage | None = None  # of a pass over the video's packets
            numbers = sequence_numbers(self.url) if is_pattern(self.url) and not Path(self.url).exists() else []
            if numbers and numbers[-1] - numbers[0] + 1 > len(numbers):
                num_missing = numbers[-1] - numbers[0] + 1 - len(numbers)
                self.count.notes.append(f"{num_missing} numbers of the sequence are missing: its pictures close up")
            self._order = FrameOrder(self.stream, self.time_base)
            self.other_streams = [stream for stream in self.container.streams if stream.index != self.stream.index]
            self.options = replace(self.options, crop=self._settled_crop())
            self._num_untimed = 0  # pictures at the beginning that Matroska gives no time, because it is before 0
            if window is None and self.container.format.name.startswith("matroska"):
                self._num_untimed = count_untimed(self.url, self.options)
            options = self.options
            self._decoder = open_decoder(self.stream, self.count, url=self.url, options=options)
            self._packets: deque[av.Packet] = deque()
            self._copied: set[int] = set()
            self._fields: set[int | None] = set()  # pts of frames on their way through the deinterlacer
            self._interlaced = False  # some frame so far
            self.num_run_in = 0  # frames decoded before the window
            self.shift = self._find_shift()  # seconds taken off every timestamp, see Note [Shift]
            self.start, self.end = self._range()  # seconds, on the output's time line; None: the input's own
            self._seek()
            self._input = self._carried_on(self._demux()) if has_restarts(self.container) else self._demux()
            self.whole_size = 0, 0  # (width, height) before cropping
            self._frames = self._cropped(self._progressive())
            self._first: av.VideoFrame | None = next(self._frames, None)
            if self._first is not None:
                self.tags: Tags = read_tags(self.stream, fetch(self._first))
            elif window is None:
                raise SourceError(self._why_no_frame(), hint="see what FFmpeg says with `streamsr info`")
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the input, unless a thread still waits in it for a pipe: that thread then owns what is left."""
        if self._reading.acquire(blocking=False):
            try:
                self.container.close()
            finally:
                self._reading.release()

    @property
    def rate(self) -> Fraction:
        """Nominal frames per second; 25 where the input does not say."""
        return self.stream.guessed_rate or self.stream.average_rate or Fraction(25)

    @property
    def duration_s(self) -> float | None:
        """Length of what will be read, None where unknown."""
        if self.container.duration is None or self.container.duration <= 0 or self._clock.restarts:
            return None
        total = self.container.duration / av.time_base
        end = min(total, self.options.end_s) if self.options.end_s is not None else total
        return max(0.0, end - (self.options.start_s or 0.0))

    def find_shortfalls(self) -> list[str]:
        """Words for what the input promised and did not hold, once all of it was read."""
        read = next((coverage for coverage in (self.coverage, self.planned) if coverage is not None and coverage.is_at_end), None)
        return [] if read is None else read.shortfalls(restarts=bool(self._clock.restarts))

    @property
    def expected_frames(self) -> int | None:
        """How many frames to expect, for progress only."""
        guess = None if self.duration_s is None else round(self.duration_s * float(self.rate))
        if self.options.start_s is None and self.options.end_s is None and self.stream.frames:
            guess = self.stream.frames
        limit = self.options.num_frames
        return limit if guess is None else guess if limit is None else min(guess, limit)

    @property
    def interlaced(self) -> bool:
        """Whether a frame so far was interlaced."""
        return self._interlaced

    def copy(self, streams: list[av.stream.Stream]) -> None:
        """Collect the packets of these streams from now on; `take_packets` hands them over."""
        with self._handing:
            self._copied = {stream.index for stream in streams}
            self._packets = deque(packet for packet in self._packets if packet.stream_index in self._copied)

    def covers(self) -> dict[int, bytes]:
        """Cover pictures by the index of their stream: FFmpeg hands them out before anything else."""
        with self._handing:
            return {
                packet.stream_index: bytes(packet) for packet in self._packets if packet.stream.disposition & Disposition.attached_pic
            }  # fmt: skip

    def cover_codecs(self) -> list[str]:
        """FFmpeg's names of the codecs of cover pictures."""
        return [codec_name(stream) for stream in self.other_streams if stream.disposition & Disposition.attached_pic]

    def take_packets(self) -> Iterator[av.Packet]:
        """Packets of the copied streams that were read so far, in file order."""
        with self._handing:
            packets, self._packets = self._packets, deque()
            if self._is_open_ended:
                # where the last frame wanted ends is not known yet: what may reach beyond it waits, to be cut there
                held = set[int]()
                ready: deque[av.Packet] = deque()
                for packet in packets:
                    seconds = packet_seconds(packet)
                    if seconds is None or seconds + duration_s(packet) > self._reached_s:
                        held.add(packet.stream_index)
                    (self._packets if packet.stream_index in held else ready).append(packet)
                packets = ready
        yield from packets

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decoded frames in presentation order; every pts is set and larger than the one before."""
        frame, self._first = self._first, None
        limit = self.options.num_frames
        while frame is not None:
            assert frame.pts is not None  # _timed has set it
            if self.end is not None and frame.pts * self.time_base >= self.end:
                break
            self.count.num_decoded += 1
            if frame.pts in self._fields:
                self._fields.discard(frame.pts)
                self.count.num_deinterlaced += 1
            self._reached_s = frame.pts * self.time_base
            yield frame
            if limit is not None and self.count.num_decoded >= limit:
                step = frame.duration * self.time_base if frame.duration else 1 / self.rate
                self.end = frame.pts * self.time_base + step
                break
            with self._reading:
                frame = next(self._frames, None)
        if self.end is not None:
            with self._reading:
                self._finish_streams(self.end)
        self._is_open_ended = False

    def _find_shift(self) -> Fraction:
        start = Fraction(self.container.start_time or 0, av.time_base)
        shift = start if self.is_broadcast else Fraction(0)
        if not self.options.negative and not self.is_broadcast:
            audio = [(stream.start_time or 0) * (stream.time_base or 0) for stream in self.other_streams if stream.type == "audio"]
            earliest = Fraction(min([self._video_start(), *(time for time in audio if time < -LONGEST_PRIMING_S)]))
            if earliest < 0:
                shift = earliest
                words = f"all times moved {float(-shift):.3f} s later: the input starts before 0, and the output's container cannot"
                self.count.notes.append(words)
        if self.options.start_s is not None:
            # whole ticks of the video, so that audio and picture move by the same time
            ticks = (start + Fraction(self.options.start_s).limit_denominator(1_000_000)) / self.time_base
            shift = math.ceil(ticks) * self.time_base
        return shift

    def _video_start(self) -> Fraction:
        """When the first picture is shown, as far as the container tells, in seconds."""
        return ((self.stream.start_time or 0) - self._num_untimed * self._step) * self.time_base

    @property
    def _step(self) -> int:
        """Ticks from one frame to the next, by the nominal rate."""
        return max(1, round(1 / self.rate / self.time_base))

    def _range(self) -> tuple[Fraction | None, Fraction | None]:
        """First and last time wanted, on the shifted time line."""
        start = Fraction(0) if self.options.start_s is not None else None
        end = None
        if self.options.end_s is not None:
            origin = Fraction(self.container.start_time or 0, av.time_base) - self.shift
            end = origin + Fraction(self.options.end_s).limit_denominator(1_000_000)
        return start, end

    def _seek(self) -> None:
        target = self.shift if self.options.start_s else None
        if self._window is not None:
            target = None if self._window.key is None else self.shift + self._window.key * self.time_base
        if target is None:
            return
        begin = Fraction(self.container.start_time or 0, av.time_base)
        if not seek_key_frame(self.container, self.stream, target, begin=begin):  # a pipe
            self.count.notes.append("the input cannot seek: frames before --start were decoded and left out")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Demux everything; decode the video, keep the packets of copied streams."""
        for packet in self._input:
            if not packet.size:
                continue  # PyAV's end of a stream, or a frame of Theora that repeats the one before
            if packet.stream.index == self.stream.index:
                self._order.see(packet)
                yield from self._decoder.decode(packet)
            else:
                self._keep(packet)
        yield from self._decoder.finish()

    def _demux(self) -> Iterator[av.Packet]:
        wanted = [self.stream] if self._window is not None else []  # [] is all of them
        packets = self.container.demux(*wanted)
        failures = 0
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                self.coverage.is_at_end = True
                break
            except av.error.FFmpegError as error:
                failures += 1
                self.count.add_damage(error)
                # FFmpeg's demuxers go on after most errors; a generator that raised does not
                packets = self.container.demux(*wanted)
                if failures > self.options.max_errors:
                    raise SourceError(f"{self.url}: cannot be read further: {error}.") from error
                continue
            self.coverage.see(packet)
            yield packet

    def _carried_on(self, packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
        clock = self._clock
        yield from clock.carry_on(packets)
        if clock.restarts:
            at = ", ".join(f"{float(time - self.shift):.3f} s" for time in clock.restarts[:5])
            self.count.notes.append(f"the input's clock starts anew {len(clock.restarts)} times, near {at}: it was continued there")

    def _timed(self) -> Iterator[av.VideoFrame]:
        """Give every frame a pts on the output's time line, increasing, and a duration where it is known."""
        base = self.time_base
        shift = round(self.shift / base)
        step = self._step
        begin = (self.stream.start_time or 0) - self._num_untimed * step - shift if self._num_untimed else 0
        last: int | None = None
        for frame in self._order.put(self._decoded()):
            if frame.pts is not None:
                frame.pts -= shift
            if frame.pts is None or (last is not None and frame.pts <= last):
                self.count.num_repaired_pts += 1
                frame.pts = begin if last is None else last + step if frame.pts is None else last + 1
            last = frame.pts
            if self.start is not None and frame.pts * base < self.start:
                self.count.num_outside += 1
                continue
            yield frame

    def _progressive(self) -> Iterator[av.VideoFrame]:
        frames = self._counted_fields(self._timed())
        if self.options.deinterlace in ("bob", "film"):
            frames = self._rearranged(frames, self.options.deinterlace)  # type: ignore[arg-type]
        elif self.options.deinterlace != "off":
            frames = deinterlace(frames, every_frame=self.options.deinterlace == "on")
        first = None if self._window is None else self._window.first
        return frames if first is None else self._from(first, frames)

    def _settled_crop(self) -> Crop | None:
        """The part of the pictures that is kept; "auto" is settled by what moments of the file show."""
        crop = self.options.crop
        if crop != "auto":
            return crop
        if not can_look_ahead(self.url):
            self.count.notes.append(f"black bars were not looked for: --crop auto reads a file twice, and {self.url} is none")
            return None
        begin_s, end_s = self.options.start_s or 0.0, (self.container.duration or 0) / av.time_base
        span = begin_s, min(end_s, self.options.end_s or end_s)
        frames = spread_frames(self.url, self.options, self.stream.index, span, NUM_MOMENTS)
        found = find_picture(frames, keeps_fields=self.options.deinterlace == "off")
        if found is not None and any(codec_name(stream) in _BITMAP_TEXT for stream in self.other_streams):
            words = "bitmap subtitles were drawn for the picture with its bars, players may squeeze them: --crop off keeps the bars"
            self.count.notes.append(words)
        return found

    def _cropped(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        first = next(frames, None)
        if first is None:
            return
        self.whole_size = first.width, first.height
        frames, crop = itertools.chain([first], frames), self.options.crop
        if crop is not None and crop != "auto":
            check_crop(crop, first, url=self.url)
            frames = cropped(frames, crop)
        yield from frames

    def _rearranged(self, frames: Iterator[av.VideoFrame], mode: Literal["bob", "film"]) -> Iterator[av.VideoFrame]:
        """Frames out of fields, with times that ascend; says at the end what became of how many."""
        num_in, num_out, last = [0], 0, None

        def counted() -> Iterator[av.VideoFrame]:
            for frame in frames:
                num_in[0] += 1
                yield frame

        for frame in rearrange(counted(), mode, rate=self.rate):
            if frame.pts is None or (last is not None and frame.pts <= last):
                frame.pts = 0 if last is None else last + 1
            last, num_out = frame.pts, num_out + 1
            yield frame
        what = "every field became a frame" if mode == "bob" else "3:2 pulldown was undone"
        self.count.notes.append(f"--deinterlace {mode}: {what}, {num_out} frames of {num_in[0]}")

    def _from(self, first: int, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            assert frame.pts is not None
            if frame.pts >= first:
                yield frame
            else:
                self.num_run_in += 1
                self._fields.discard(frame.pts)

    def _counted_fields(self, frames: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        every = self.options.deinterlace == "on"
        for frame in frames:
            self._interlaced |= frame.interlaced_frame
            if self.options.deinterlace in ("auto", "on") and (every or frame.interlaced_frame):
                self._fields.add(frame.pts)
            yield frame

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the copied streams from here to the end, in file order, without decoding the video."""
        yield from self.take_packets()
        for packet in self._input if self._copied else ():
            seconds = packet_seconds(packet)
            if self.end is not None and seconds is not None and seconds - self.shift >= self.end + _INTERLEAVE_S:
                return
            if packet.size and packet.stream.index != self.stream.index:
                self._keep(packet)
                yield from self.take_packets()

    def _keep(self, packet: av.Packet) -> None:
        if not packet.size or (self._copied and packet.stream_index not in self._copied):
            return  # an empty packet is FFmpeg's flush packet
        if packet.time_base and self.shift:
            ticks = round(self.shift / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        trimmed = trim_pcm(packet, self.start, self.end)
        if trimmed is None:
            return
        seconds = packet_seconds(trimmed)
        # a packet that began before the start is left out whole: half a frame of coded audio cannot be copied
        early = seconds is not None and self.start is not None and seconds < self.start
        late = seconds is not None and self.end is not None and seconds >= self.end
        if not early and not late:
            with self._handing:
                self._packets.append(trimmed)

    def _finish_streams(self, end: Fraction) -> None:
        """After the last frame wanted: read on until the other streams have come to the end too, and no further."""

        def late(packet: av.Packet) -> bool:
            seconds = packet_seconds(packet)
            return seconds is not None and seconds >= end

        with self._handing:
            trimmed = [trim_pcm(packet, None, end) for packet in self._packets if not late(packet)]
            self._packets = deque(packet for packet in trimmed if packet is not None)
        waiting = {stream.index for stream in self.other_streams if stream.index in self._copied and stream.type == "audio"}
        while waiting:
            packet = next(self._input, None)
            if packet is None:
                return
            seconds = packet_seconds(packet)
            if seconds is not None and seconds - self.shift >= end + _INTERLEAVE_S:
                return
            if packet.stream.index != self.stream.index:
                self._keep(packet)
                if seconds is not None and seconds - self.shift >= end:
                    waiting.discard(packet.stream.index)

    def _why_no_frame(self) -> str:
        if self.count.num_outside:
            return f"{self.url}: no frame between --start and --end."
        reason = f": {self.count.first_error}" if self.count.first_error else ""
        return f"{self.url}: no frame of its {self.stream.codec_context.name} video could be decoded{reason}."


def open_source(url: str | Path, options: SourceOptions | None = None) -> Source:
    """Open a file, an image sequence (`frames/%05d.png`) or `-` (stdin). Raises SourceError."""
    return Source(url, options)
