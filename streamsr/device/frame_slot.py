"""Slot: room for one batch of frames in flight: a stream, pinned host memory, planes on the device, a chain, its graphs.

    host frame -> pinned -> upload  \\                                        / download -> pinned -> host frame
                                      planes -> graph (chain) -> planes  -->
    surface of NVDEC -> deinterleave /                                        \\ interleave -> surface of NVENC

Everything from upload to download is put on the slot's own stream without waiting, and two events are recorded: `computed`,
after which the next frame of a recurrent network may begin, and `done`. Until `done` has passed, nothing of a slot may be
touched, which `finish` waits for. Memory is allocated once, when the slot is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

from ..engines.device_engine import DeviceEngine
from ..frame import Frame, is_on_device
from .device import CaptureError, Device, DeviceArray, Event, Graph
from .frame_metadata import copy_words, needs_host
from .frame_plan import SURFACE_OF, Picture
from .kernel_chain import Chain, Planes, States

PITCH = 256  # bytes that rows of a surface for an encoder are padded to


@dataclass(slots=True)
class Ticket:
    """One frame on its way, in the order of the stream."""

    number: int
    video: av.VideoFrame  # as it came: its words go on to the result, and a surface has to live until it was read
    relation: str = ""  # streamsr.device.frame_relation.Relation, once it is known
    result: av.VideoFrame | None = None
    on_device: bool = False  # the result is a surface


class Slot:
    """See the module. Raises DeviceMemoryError where the device has no room for one more.

    surfaces: results stay on the device where they can, for an encoder there.
    """

    def __init__(
        self, device: Device, picture: Picture, engines: Sequence[DeviceEngine], *, batch: int, limit: int | None, surfaces: bool
    ) -> None:  # fmt: skip
        self._device, self._picture = device, picture
        is_even = not (picture.size[0] % 2 or picture.size[1] % 2)
        self._surface_format = SURFACE_OF.get(picture.layout.name) if surfaces and is_even else None
        self.tickets: list[Ticket] = []
        self.batch = batch
        self.computed: Event | None = None
        self.done: Event | None = None
        self.launched = 0.0  # when, in seconds of perf_counter
        self._graphs: dict[object, Graph] = {}
        self._surfaces: list[tuple[DeviceArray, ...]] = []  # of the results in flight
        self._has_run = False
        self.stream = device.open_stream()
        shapes, large = picture.shapes((picture.width, picture.height)), picture.shapes(picture.size)
        dtype = picture.dtype
        self.sources: list[Planes] = [tuple(device.allocate(shape, dtype) for shape in shapes) for _ in range(batch)]
        self.results: list[Planes] = [tuple(device.allocate(shape, dtype) for shape in large) for _ in range(batch)]
        self._given = [] if picture.is_surface else [[device.pin(shape, dtype) for shape in shapes] for _ in range(batch)]
        self._large = large
        self._made: list[list[np.ndarray] | None] = [None] * batch  # pinned, where results go to the host
        if self._surface_format is None:
            self._made = [self._pin_result() for _ in range(batch)]
        self.chain = Chain(device, picture, engines, batch=batch, limit=limit)
        self.uncaptured = "" if self.chain.is_capturable else "the engine replays its own"  # why there are no graphs

    @property
    def is_full(self) -> bool:
        return len(self.tickets) == self.batch

    @property
    def is_launched(self) -> bool:
        return self.done is not None

    @property
    def end(self) -> Event:
        """After which the frames of a slot that was launched are done."""
        assert self.done is not None
        return self.done

    def load(self, ticket: Ticket) -> None:
        """Put the samples of a frame on their way to the device."""
        place = len(self.tickets)
        self.tickets.append(ticket)
        if is_on_device(ticket.video):
            surface = self._device.import_surface(ticket.video, self.stream)
            self._device.kernels.deinterleave(surface, self.sources[place], bits=self._picture.bits, stream=self.stream)
            return
        for plane, pinned, array in zip(Frame(ticket.video).planes, self._given[place], self.sources[place], strict=False):
            np.copyto(pinned, plane)
            self._device.upload(pinned, array, self.stream)

    def launch(self, state: States, following: States, *, key: object, after: Event | None) -> None:
        """Put the rest on the stream: everything that is computed, then what brings the results out.

        key: which states these are; a graph keeps their addresses. after: what has to be past before it is computed.
        """
        if after is not None:
            self._device.wait(self.stream, after)
        self._compute(state, following, key)
        self._bring_out()

    def repeat(self, before: Slot) -> None:
        """Instead of `launch`, where the luma is that of the frame in slot `before`, which was launched last."""
        assert before.computed is not None
        if before is not self:
            self._device.wait(self.stream, before.computed)
            self._device.copy(before.results[0][0], self.results[0][0], self.stream)
        if self._picture.chroma is not None:
            self._device.kernels.resample_chroma(
                self.sources[0][1:3], self.results[0][1:3], self._picture.chroma, bits=self._picture.bits,
                tables=self.chain.tables, stream=self.stream,
            )  # fmt: skip
        self._bring_out()

    def finish(self) -> list[Ticket]:
        """Wait for the frames, and give them back with their results. The slot is free then."""
        self._device.synchronise(self.end)
        tickets, self.tickets = self.tickets, []
        self.done = None
        for place, ticket in enumerate(tickets):
            if ticket.on_device:
                assert self._surface_format is not None
                ticket.result = self._device.export_surface(self._surfaces[place], self._surface_format)
                copy_words(ticket.video, ticket.result)
            else:
                ticket.result = self._make_frame(ticket.video, place)
        self._surfaces = []
        return tickets

    def settle(self) -> None:
        """Wait for whatever is on the stream, after a failure. The tickets stay."""
        self._device.synchronise(self._device.record(self.stream))
        self.done = None
        self._surfaces = []

    def close(self) -> None:
        """Free everything; nothing may be in flight."""
        self._graphs.clear()
        self.chain.close()

    def _compute(self, state: States, following: States, key: object) -> None:
        def work() -> None:
            self.chain.enqueue(self.sources, self.results, state, following, self.stream)

        if key not in self._graphs and self._has_run and not self.uncaptured:
            try:
                self._graphs[key] = self._device.capture(self.stream, work)
            except CaptureError as error:
                self.uncaptured = str(error)
        if key in self._graphs:
            self._device.launch(self._graphs[key], self.stream)
        else:
            work()
            self._has_run = True

    def _bring_out(self) -> None:
        device, picture = self._device, self._picture
        self.computed = device.record(self.stream)
        for place, ticket in enumerate(self.tickets):
            ticket.on_device = self._surface_format is not None and not needs_host(ticket.video)
            if ticket.on_device:
                surface = self._allocate_surface()
                self._surfaces.append(surface)
                device.kernels.interleave(self.results[place], surface, bits=picture.bits, stream=self.stream)
                continue
            self._surfaces.append(())
            made = self._made[place]
            if made is None:
                made = self._made[place] = self._pin_result()
            for array, pinned in zip(self.results[place], made, strict=True):
                device.download(array, pinned, self.stream)
        self.done = device.record(self.stream)

    def _allocate_surface(self) -> tuple[DeviceArray, ...]:
        """y (h, w) and uv (h/2, w/2, 2) in one piece of memory, uv behind y at the same pitch: NVENC is told where y begins, no more."""
        width, height = self._picture.size
        itemsize = np.dtype(self._picture.dtype).itemsize
        pitch = -(-width * itemsize // PITCH) * PITCH // itemsize
        whole = self._device.allocate((height * 3 // 2, pitch), self._picture.dtype)
        return whole[:height, :width], whole[height:, :width].reshape(height // 2, width // 2, 2)

    def _pin_result(self) -> list[np.ndarray]:
        return [self._device.pin(shape, self._picture.dtype) for shape in self._large]

    def _make_frame(self, source: av.VideoFrame, place: int) -> av.VideoFrame:
        made = self._made[place]
        assert made is not None
        video = copy_words(source, None, size=self._picture.size, pix_fmt=self._picture.layout.name)
        for plane, pinned in zip(Frame(video).planes, made, strict=True):
            np.copyto(plane, pinned)
        return video
