"""Slot: room for one batch of frames in flight: a stream, pinned host memory, planes on the device, graphs of a chain.

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
from functools import partial

import av
import numpy as np

from ..frame import Frame, is_on_device
from ..io.dlpack import Unstreamed
from .device import CaptureError, Device, DeviceArray, Event, Graph, Stream
from .frame_metadata import copy_metadata, needs_host
from .frame_plan import SURFACE_OF, FramePlan
from .kernel_chain import Chain, Planes, States
from .ring import Ring

SURFACE_PITCH = 256  # bytes that rows of a surface for an encoder are padded to
MOST_LENT = 48  # pictures in pinned memory: who keeps more, such as a caller that collects them, gets copies
HOST_PITCH = 64  # the same of a picture in pinned memory, as FFmpeg pads its own; it also reads as much behind the last one


@dataclass(slots=True)
class Ticket:
    """One frame in flight, in stream order."""

    number: int
    video: av.VideoFrame  # as it came: its words go on to the result, and a surface has to live until it was read
    relation: str = ""  # streamsr.device.frame_relation.Relation, once it is known
    result: av.VideoFrame | None = None
    on_device: bool = False  # the result is a surface


class Slot:
    """See the module. Raises DeviceMemoryError where the device has no room for one more.

    chain: for batches of this size; whoever opened it closes it. rings: where results are put.
    """

    def __init__(self, device: Device, picture: FramePlan, chain: Chain, stream: Stream, *, batch: int, rings: Rings) -> None:
        self._device, self._picture = device, picture
        self.chain, self.stream = chain, stream
        self._rings = rings
        self.tickets: list[Ticket] = []
        self.batch = batch
        self.computed: Event | None = None
        self.done: Event | None = None
        self.launched = 0.0  # when, in seconds of perf_counter
        self._graphs: dict[object, Graph] = {}
        self._lent: list[Planes] = []  # where the results in flight go: surfaces or pinned memory
        self._has_run = False
        shapes, large = picture.shapes((picture.width, picture.height)), picture.shapes(picture.size)
        dtype = picture.dtype
        self.sources: list[Planes] = [tuple(device.allocate(shape, dtype) for shape in shapes) for _ in range(batch)]
        self.results: list[Planes] = [tuple(device.allocate(shape, dtype) for shape in large) for _ in range(batch)]
        self._given = [] if picture.is_surface else [[device.pin(shape, dtype) for shape in shapes] for _ in range(batch)]
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
        """Start the upload of a frame's samples."""
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
        made = len(self.results[0]) if self._picture.has_chroma else 1  # planes that the network makes
        if before is not self:
            self._device.wait(self.stream, before.computed)
            for plane, copy in zip(before.results[0][:made], self.results[0], strict=False):
                self._device.copy(plane, copy, self.stream)
        if self._picture.chroma is not None and not self._picture.has_chroma:
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
        lent, self._lent = self._lent, []
        for ticket, planes in zip(tickets, lent, strict=True):
            if ticket.on_device:
                assert self._rings.surface_format is not None
                ticket.result = self._device.export_surface(planes, self._rings.surface_format)
                copy_metadata(ticket.video, ticket.result)
            else:
                ticket.result = self._make_frame(ticket.video, planes)
        return tickets

    def settle(self) -> None:
        """Wait for whatever is on the stream, after a failure. The tickets stay."""
        self._device.synchronise(self._device.record(self.stream))
        self.done = None
        self._lent = []

    def close(self) -> None:
        """Free the graphs; nothing may be in flight."""
        self._graphs.clear()

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
            ticket.on_device = self._rings.surface_format is not None and not needs_host(ticket.video)
            if ticket.on_device:
                surface = self._rings.surfaces.take()
                self._lent.append(surface)
                device.kernels.interleave(self.results[place], surface, bits=picture.bits, stream=self.stream)
                continue
            pinned = self._rings.pictures.take()
            self._lent.append(pinned)
            for array, plane in zip(self.results[place], pinned, strict=True):
                device.download(array, plane, self.stream)
        self.done = device.record(self.stream)

    def _make_frame(self, source: av.VideoFrame, planes: Planes) -> av.VideoFrame:
        """A frame of these planes, which the encoder reads where they are.

        A copy where PyAV cannot put on such a frame what the source says, and for whoever keeps frames by the dozen.
        """
        if not needs_host(source) and self._rings.pictures.num_lent <= MOST_LENT:
            given = tuple(Unstreamed(plane) for plane in planes)
            return copy_metadata(source, av.VideoFrame.from_dlpack(given, format=self._picture.layout.name))
        video = copy_metadata(source, None, size=self._picture.size, pix_fmt=self._picture.layout.name)
        for plane, pinned in zip(Frame(video).planes, planes, strict=True):
            np.copyto(plane, pinned)
        return video


class Rings:
    """Where the results of one kind of picture go, for as long as their encoder lives: longer than any slot.

    surfaces: results stay on the device where they can, for an encoder there.
    """

    def __init__(self, device: Device, picture: FramePlan, *, surfaces: bool) -> None:
        width, height = picture.size
        is_even = not (width % 2 or height % 2)
        self.surface_format = SURFACE_OF.get(picture.layout.name) if surfaces and is_even else None
        self._device, self._dtype = device, picture.dtype
        itemsize = np.dtype(picture.dtype).itemsize
        pitch = -(-width * itemsize // SURFACE_PITCH) * SURFACE_PITCH // itemsize
        self.surfaces = Ring(lambda: device.allocate((height * 3 // 2, pitch), picture.dtype), partial(_surface_planes, width, height))
        shapes = picture.shapes(picture.size)
        pitches = [-(-columns * itemsize // HOST_PITCH) * HOST_PITCH // itemsize for _, columns in shapes]
        length = sum(rows * each for (rows, _), each in zip(shapes, pitches, strict=True)) + HOST_PITCH // itemsize
        self.pictures = Ring(lambda: device.pin((length,), picture.dtype), partial(_host_planes, shapes, pitches))


def _surface_planes(width: int, height: int, whole: DeviceArray) -> Planes:
    """y (h, w) and uv (h/2, w/2, 2) in one piece of memory, uv behind y at the same pitch: NVENC is told where y begins, no more."""
    return whole[:height, :width], whole[height:, :width].reshape(height // 2, width // 2, 2)


def _host_planes(shapes: Sequence[tuple[int, int]], pitches: Sequence[int], whole: np.ndarray) -> Planes:
    """The planes of a picture, one behind the other."""
    planes, start = [], 0
    for (rows, columns), pitch in zip(shapes, pitches, strict=True):
        planes.append(whole[start : start + rows * pitch].reshape(rows, pitch)[:, :columns])
        start += rows * pitch
    return tuple(planes)
