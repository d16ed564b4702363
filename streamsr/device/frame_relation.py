"""How a frame stands to the one before it, for a network that carries a state.

See Note [State] of streamsr.upscaling.frame_sequence.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..frame import Frame
from ..upscaling.scene_cuts import Continuity, sample_step
from .device import Device
from .frame_plan import Picture
from .frame_slot import Slot, Ticket

Relation = Literal["follows", "anew", "repeats"]  # "repeats": its luma is the same, so the state stays and the result is shown again


class Judge:
    """Looks at the frames of one stream and Picture in their order.

    What is on the device is looked at there: a sparse sample and one flag come to the host, which waits for them, while the
    frames before are computed.
    """

    def __init__(self, device: Device, picture: Picture, continuity: Continuity) -> None:
        self._device, self._picture, self._continuity = device, picture, continuity
        self._last: np.ndarray | None = None  # luma of the frame before, where frames come from the host
        self._num_seen = 0
        if picture.is_surface:
            rows, columns = picture.height, picture.width
            self._step = sample_step(rows, columns)
            shape = (-(-rows // self._step[0]), -(-columns // self._step[1]))
            self._before = device.allocate((rows, columns), picture.dtype)
            self._samples, self._differs = device.allocate(shape, picture.dtype), device.allocate((1,), "int32")
            self._host_samples, self._host_differs = device.pin(shape, picture.dtype), device.pin((1,), "int32")

    def judge(self, ticket: Ticket, slot: Slot) -> Relation:
        """The relation of a frame that was just loaded into `slot`."""
        video = ticket.video
        time_base = None if video.time_base is None else float(video.time_base)
        goes_on = self._continuity.time_goes_on(video.pts, time_base)
        is_first, self._num_seen = self._num_seen == 0, self._num_seen + 1
        if self._picture.is_surface:
            samples, is_same = self._look(slot)
        else:
            samples = Frame(video).luma
            is_same = self._last is not None and np.array_equal(self._last, samples)
        if goes_on and is_same and not is_first:
            return "repeats"
        if not self._picture.is_surface:
            self._last = samples.copy()
        # a first frame has another size than those before, which its samples need not show
        return "follows" if self._continuity.picture_goes_on(samples, self._picture.bits) and goes_on and not is_first else "anew"

    def _look(self, slot: Slot) -> tuple[np.ndarray, bool]:
        device = self._device
        device.kernels.look(slot.sources[0][0], self._before, self._samples, self._differs, step=self._step, stream=slot.stream)
        device.download(self._samples, self._host_samples, slot.stream)
        device.download(self._differs, self._host_differs, slot.stream)
        device.synchronise(device.record(slot.stream))
        return self._host_samples.copy(), not self._host_differs[0]
