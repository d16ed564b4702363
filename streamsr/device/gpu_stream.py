"""GpuStream: one stream of frames through the device. They all leave with the size and pixel format that the first one got."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import av

from ..errors import EngineError, StreamsrError
from ..frame import Frame, fetch, is_on_device
from ..resample import CONVERT_FLAGS, Resampler, planar_format
from ..upscaling.frame_sequence import FrameSequence
from ..upscaling.scene_cuts import Continuity
from .frame_plan import Told, picture_format
from .frame_slot import Ticket
from .inflight import FramesInFlight
from .oom_fallback import DeviceTooSmallError, Rung

if TYPE_CHECKING:
    from .device_upscaler import DeviceUpscaler


class GpuStream:
    """What `streamsr.upscaling.frame_sequence.Stream` is on the CPU. like: width, height and pixel format of the first frame."""

    def __init__(self, upscaler: DeviceUpscaler, like: tuple[int, int, str], rung: Rung) -> None:
        self._upscaler, self._like, self._rung = upscaler, like, rung
        self._continuity = Continuity() if upscaler.is_recurrent else None
        self._pix_fmt = planar_format(like[2])
        self._size = upscaler.output_size(like[0], like[1], self._pix_fmt)
        self._convert = Resampler(pix_fmt=self._pix_fmt, flags=CONVERT_FLAGS)
        self._told: Told | None = None  # of the source, found in its first frame
        self._host: FrameSequence | None = None
        self._kind: tuple[object, ...] = ()  # of the last frame; another one needs another flight
        self._flight: FramesInFlight | None = None
        self._num_put = self._num_done = 0  # in flights

    def put(self, video: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Take the next frame; gives those that are done, in order. Frames before one that fails come out first."""
        is_odd = video.width % 2 or video.height % 2  # of which PyAV hands on no surface
        if is_on_device(video) and is_odd:
            video = fetch(video)
        if picture_format(video) != self._pix_fmt:
            video = self._convert(fetch(video))
        elif not is_on_device(video) and video.format.name != self._pix_fmt:
            video = self._convert(video)
        kind = (video.width, video.height, video.format.name)
        if kind != self._kind:
            yield from self.drain()
            self._close_flight()
            self._open_flight(video)
            self._kind = kind
        if self._flight is None:
            yield self._by_host(video)
            return
        self._num_put += 1
        yield from self._go_on(partial(self._flight.put, Ticket(self._num_put, video)))

    def drain(self) -> Iterator[av.VideoFrame]:
        """The frames in flight."""
        if self._flight is not None:
            yield from self._go_on(self._flight.drain)

    def _go_on(self, work: Callable[[], None]) -> Iterator[av.VideoFrame]:
        """Do it, and give what is done then. What no longer fits on the device is made by the CPU, where that may be."""
        assert self._flight is not None
        flight = self._flight
        try:
            work()
        except StreamsrError as error:
            flight.land()
            yield from self._take()
            if not isinstance(error, DeviceTooSmallError) or not self._upscaler.may_fall_back:
                raise
            unfinished = flight.unfinished
            self._upscaler.fall_back(error)
            self._close_flight()
            for ticket in unfinished:
                self._num_done += 1
                yield self._by_host(ticket.video)
            return
        yield from self._take()

    @property
    def num_slots(self) -> int:
        """The most frames in flight; more wait in `put`."""
        return (self._flight.rung if self._flight is not None else self._rung).num_slots

    def land_first(self) -> Iterator[av.VideoFrame]:
        """Wait for the frame that was put first; gives it, or nothing if none is in flight."""
        if self._flight is not None:
            self._flight.land_first()
            yield from self._take()

    def close(self) -> None:
        self._close_flight()

    def _open_flight(self, video: av.VideoFrame) -> None:
        if self._told is None and self._upscaler.has_chroma:
            frame = Frame(fetch(video))
            found = self._upscaler.condition_of(frame.luma, frame.layout.bits)
            self._told = found.blur, found.damage
        picture = self._upscaler.describe(video, self._size, self._told or (0.0, 0.0))
        if picture is None:
            return
        try:
            self._flight = self._upscaler.fly(picture, self._rung, self._continuity)
        except EngineError as error:
            if not self._upscaler.may_fall_back:
                raise
            self._upscaler.fall_back(error)

    def _close_flight(self) -> None:
        if self._flight is not None:
            self._upscaler.landed(self._flight)
            self._rung = self._flight.rung  # what did not fit does not fit the next one either
            self._flight.close()
            self._flight = None

    def _take(self) -> Iterator[av.VideoFrame]:
        assert self._flight is not None
        self._upscaler.add_engine_time(self._flight.take_busy_s())
        while self._flight.ready:
            ticket = self._flight.ready.popleft()
            self._num_done += 1
            assert ticket.number == self._num_done, f"frame {ticket.number} came out as number {self._num_done}"
            assert ticket.result is not None
            self._upscaler.count(reused=ticket.relation == "repeats")
            yield ticket.result

    def _by_host(self, video: av.VideoFrame) -> av.VideoFrame:
        """A picture of a size that needs no network, in the middle of others."""
        if self._host is None:
            self._host = FrameSequence(self._upscaler, like=self._like)
        result: av.VideoFrame = self._host.admit(fetch(video))()
        return result
