"""The relation of a frame to the previous one, for a recurrent network.

See Note [State] of streamsr.upscaling.frame_sequence.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..frame import Frame
from ..upscaling.scene_cuts import Continuity, sample_step
from .device import Device
from .frame_plan import FramePlan
from .frame_slot import Slot, Ticket

# "repeats": what the network sees is the same, so the state stays and the result is shown again
Relation = Literal["follows", "anew", "repeats"]


class RelationFinder:
    """Looks at the frames of one stream and FramePlan in their order.

    What is on the device is looked at there: a sparse sample and one flag come to the host, which waits for them, while the
    frames before are computed.
    """

    def __init__(self, device: Device, picture: FramePlan, continuity: Continuity) -> None:
        self._device, self._picture, self._continuity = device, picture, continuity
        self._last: list[np.ndarray] | None = None  # what the network saw of the frame before, where frames come from the host
        self._num_seen = 0
        if picture.is_surface:
            rows, columns = picture.height, picture.width
            self._step = sample_step(rows, columns)
            shape = (-(-rows // self._step[0]), -(-columns // self._step[1]))
            shapes = picture.shapes((columns, rows))[: 3 if picture.has_chroma else 1]
            self._before = [device.allocate(plane, picture.dtype) for plane in shapes]
            self._samples, self._corner = device.allocate(shape, picture.dtype), device.allocate((1, 1), picture.dtype)
            self._differs = [device.allocate((1,), "int32") for _ in shapes]
            self._host_samples = device.pin(shape, picture.dtype)
            self._host_differs = [device.pin((1,), "int32") for _ in shapes]

    def judge(self, ticket: Ticket, slot: Slot) -> Relation:
        """The relation of a frame that was just loaded into `slot`."""
        video = ticket.video
        time_base = None if video.time_base is None else float(video.time_base)
        goes_on = self._continuity.time_goes_on(video.pts, time_base)
        is_first, self._num_seen = self._num_seen == 0, self._num_seen + 1
        if self._picture.is_surface:
            samples, is_same = self._look(slot)
        else:
            planes = Frame(video).planes[: 3 if self._picture.has_chroma else 1]
            samples = planes[0]
            is_same = self._last is not None and all(map(np.array_equal, self._last, planes))
        if goes_on and is_same and not is_first:
            return "repeats"
        if not self._picture.is_surface:
            self._last = [plane.copy() for plane in planes]
        # a first frame has another size than those before, which its samples need not show
        return "follows" if self._continuity.picture_goes_on(samples, self._picture.bits) and goes_on and not is_first else "anew"

    def _look(self, slot: Slot) -> tuple[np.ndarray, bool]:
        device = self._device
        for index, (plane, before, differs) in enumerate(zip(slot.sources[0], self._before, self._differs, strict=False)):
            samples, step = (self._corner, plane.shape) if index else (self._samples, self._step)
            device.kernels.look(plane, before, samples, differs, step=step, stream=slot.stream)
        device.download(self._samples, self._host_samples, slot.stream)
        for differs, host in zip(self._differs, self._host_differs, strict=True):
            device.download(differs, host, slot.stream)
        device.synchronise(device.record(slot.stream))
        return self._host_samples.copy(), not any(host[0] for host in self._host_differs)
