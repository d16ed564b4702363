"""Source: decoded frames of a file, an image sequence or a pipe, and the packets of its other streams.

Order of the data: packets from FFmpeg -> decoder -> timestamps made whole -> bwdif where interlaced -> the crop -> the
range of --start/--end/--frames. What comes out is on the output's time line: Note [Shift] of streamsr.io.time_line.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Disposition

from ..errors import SourceError
from ..frame import fetch
from ..options import SourceOptions
from .coverage import Coverage
from .crop import check_crop, cropped
from .crop_choice import settle_crop
from .decoding import SourceCount
from .deinterlace import FRAMES_OUT, deinterlace, rearrange
from .demuxing import Demuxer
from .frame_order import FrameOrder
from .input_container import count_untimed, open_input, pick_video, sequence_numbers
from .nvdec import open_decoder
from .packet_queue import INTERLEAVE_S, PacketQueue
from .picture_shape import PictureShape
from .picture_times import settle_times
from .seeking import seek_key_frame
from .service import Service, read_service
from .tags import Tags, read_tags
from .time_line import find_time_line
from .tracks import codec_name


@dataclass(frozen=True, slots=True)
class Window:
    """The part of the video that a Source reads, without the other streams: pts in ticks of its `time_base`."""

    key: int | None  # key frame to decode from; None: from the beginning
    first: int | None  # frames before this are left out, once they have served those behind them; None: nothing is
    aspect: Fraction | None = None  # width to height of the video's first picture as it is shown; None: this part's first


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
        self.container = open_input(self.url, self.options)
        try:
            self.stream = pick_video(self.container, self.url)
            # seconds per tick of every frame's pts; kept, because a closed container has no streams to ask
            self.time_base: Fraction = self.stream.time_base or Fraction(1, 1000)
            # whether the clock began before the recording, so that its start means nothing
            self.is_broadcast = self.container.format.name in ("mpegts", "mpeg", "hls")
            self.coverage = Coverage(self.url, self.container, self.stream)
            self.planned: Coverage | None = None  # of a pass over the video's packets
            numbers = sequence_numbers(self.url, self.options, self.count.notes)
            self._numbers = numbers if self.options.keep_gaps else []
            self._order = FrameOrder(self.stream, self.time_base)
            self.other_streams = [stream for stream in self.container.streams if stream.index != self.stream.index]
            crop = settle_crop(self.url, self.options, self.container, self.stream, notes=self.count.notes)
            self.options = replace(self.options, crop=crop)
            self._num_untimed = 0  # pictures at the beginning that Matroska gives no time, because it is before 0
            if window is None and self.container.format.name.startswith("matroska"):
                self._num_untimed = count_untimed(self.url, self.options)
            options = self.options
            self._decoder = open_decoder(self.stream, self.count, url=self.url, options=options)
            self._fields: set[int | None] = set()  # pts of frames on their way through the deinterlacer
            self._interlaced = False  # some frame so far
            self.num_run_in = 0  # frames decoded before the window
            self.times = find_time_line(
                self.container, options, time_base=self.time_base, video_start=self._video_start * self.time_base,
                is_broadcast=self.is_broadcast, audio=self._audio(), notes=self.count.notes,
            )  # fmt: skip
            self._packets = PacketQueue(self.times, is_open_ended=options.num_frames is not None)
            self._seek()
            self._input = Demuxer(
                self.url, self.container, only=None if window is None else self.stream, shift=self.times.shift,
                max_errors=options.max_errors, count=self.count, coverage=self.coverage,
            )  # fmt: skip
            self.whole_size = 0, 0  # (width, height) before cropping
            self._shape = PictureShape(None if window is None else window.aspect)
            self._frames = self._shape.keep(self._cropped(self._progressive()))
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
        """Nominal frames per second that come out."""
        return self.coded_rate * FRAMES_OUT.get(self.options.deinterlace, 1)

    @property
    def coded_rate(self) -> Fraction:
        """Nominal frames per second of the input; 25 if it does not declare one."""
        return self.stream.guessed_rate or self.stream.average_rate or Fraction(25)

    @property
    def aspect(self) -> Fraction | None:
        """Width to height of the first picture, as it is shown."""
        return self._shape.aspect

    @property
    def service(self) -> Service:
        """The service information of a broadcast; empty for other containers."""
        return read_service(self.url, self.stream.id) if self.container.format.name == "mpegts" else Service()

    @property
    def duration_s(self) -> float | None:
        """Length of what will be read, None where unknown."""
        if self.container.duration is None or self.container.duration <= 0 or self._input.has_restarted:
            return None
        total = self.container.duration / av.time_base
        end = min(total, self.options.end_s) if self.options.end_s is not None else total
        return max(0.0, end - (self.options.start_s or 0.0))

    def find_shortfalls(self) -> list[str]:
        """Messages about declared properties of the input that did not hold, once all of it was read."""
        read = next((coverage for coverage in (self.coverage, self.planned) if coverage is not None and coverage.is_at_end), None)
        return [] if read is None else read.shortfalls(restarts=self._input.has_restarted)

    @property
    def expected_frames(self) -> int | None:
        """How many frames to expect, for progress only."""
        guess = None if self.duration_s is None else round(self.duration_s * float(self.rate))
        if self.options.start_s is None and self.options.end_s is None and self.stream.frames:
            guess = round(self.stream.frames * FRAMES_OUT.get(self.options.deinterlace, 1))
        limit = self.options.num_frames
        return limit if guess is None else guess if limit is None else min(guess, limit)

    @property
    def interlaced(self) -> bool:
        """Whether a frame so far was interlaced."""
        return self._interlaced

    def copy(self, streams: list[av.stream.Stream]) -> None:
        """Collect the packets of these streams from now on; `take_packets` hands them over."""
        self._packets.choose(streams)

    def covers(self) -> dict[int, bytes]:
        """Cover pictures by the index of their stream: FFmpeg hands them out before anything else."""
        return self._packets.covers()

    def cover_codecs(self) -> list[str]:
        """FFmpeg's names of the codecs of cover pictures."""
        return [codec_name(stream) for stream in self.other_streams if stream.disposition & Disposition.attached_pic]

    def take_packets(self) -> Iterator[av.Packet]:
        """Packets of the copied streams that were read so far, in file order."""
        return self._packets.take()

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decoded frames in presentation order; every pts is set and larger than the one before."""
        frame, self._first = self._first, None
        limit = self.options.num_frames
        while frame is not None:
            assert frame.pts is not None  # settle_times has set it
            seconds = frame.pts * self.time_base
            if self.times.end is not None and seconds >= self.times.end:
                break
            self.count.num_decoded += 1
            if frame.pts in self._fields:
                self._fields.discard(frame.pts)
                self.count.num_deinterlaced += 1
            self._packets.reach(seconds)
            yield frame
            if limit is not None and self.count.num_decoded >= limit:
                self.times.end = seconds + (frame.duration * self.time_base if frame.duration else 1 / self.rate)
                break
            with self._reading:
                frame = next(self._frames, None)
        if self.times.end is not None:
            with self._reading:
                self._packets.read_to_end(lambda: next(self._input, None), self._audio(), video=self.stream.index)
        self._packets.end()
        if self._shape.num_changed:
            at_s = float((self._shape.first_changed_pts or 0) * self.time_base)
            self.count.notes.append(f"the shape of the picture changes at {at_s:.3f} s: {self._shape.num_changed} frames are between bars")

    def _audio(self) -> list[av.stream.Stream]:
        return [stream for stream in self.other_streams if stream.type == "audio"]

    @property
    def _video_start(self) -> int:
        """When the first picture is shown, as far as the container tells, in ticks."""
        return (self.stream.start_time or 0) - self._num_untimed * self._step

    @property
    def _step(self) -> int:
        """Ticks from one frame to the next, by the nominal rate."""
        return max(1, round(1 / self.coded_rate / self.time_base))

    def _seek(self) -> None:
        target = self.times.shift if self.options.start_s and not self._numbers else None
        if self._window is not None:
            target = None if self._window.key is None else self.times.shift + self._window.key * self.time_base
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
                self._packets.put(packet)
        yield from self._decoder.finish()

    def _timed(self) -> Iterator[av.VideoFrame]:
        return settle_times(
            self._order.put(self._decoded()), self.times, time_base=self.time_base, step=self._step,
            begin=self._video_start if self._num_untimed else None, numbers=self._numbers, count=self.count,
        )  # fmt: skip

    def _progressive(self) -> Iterator[av.VideoFrame]:
        frames = self._counted_fields(self._timed())
        if self.options.deinterlace == "bob" or self.options.deinterlace == "film":
            frames = rearrange(frames, self.options.deinterlace, rate=self.coded_rate, notes=self.count.notes)
        elif self.options.deinterlace != "off":
            frames = deinterlace(frames, every_frame=self.options.deinterlace == "on")
        first = None if self._window is None else self._window.first
        return frames if first is None else self._from(first, frames)

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
        end = self.times.end
        for packet in self._input if self._packets.copied else ():
            seconds = self.times.of(packet)
            if end is not None and seconds is not None and seconds >= end + INTERLEAVE_S:
                return
            if packet.size and packet.stream.index != self.stream.index:
                self._packets.put(packet)
                yield from self.take_packets()

    def _why_no_frame(self) -> str:
        if self.count.num_outside:
            return f"{self.url}: no frame between --start and --end."
        reason = f": {self.count.first_error}" if self.count.first_error else ""
        return f"{self.url}: no frame of its {self.stream.codec_context.name} video could be decoded{reason}."


def open_source(url: str | Path, options: SourceOptions | None = None) -> Source:
    """Open a file, an image sequence (`frames/%05d.png`) or `-` (stdin). Raises SourceError."""
    return Source(url, options)
