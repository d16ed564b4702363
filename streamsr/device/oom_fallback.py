"""What to give up where a device has too little memory: first frames in flight, then whole pictures. Never a frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..engines.device_engine import DeviceMemoryError
from .frame_plan import FramePlan
from .kernel_chain import can_tile


class DeviceTooSmallError(DeviceMemoryError):
    """Not even the lowest rung fits."""


@dataclass(frozen=True, slots=True)
class Rung:
    """How much is on the device at once."""

    num_slots: int  # batches in flight
    batch: int = 1  # frames that the network takes at once
    limit: int | None = None  # the most pixels of luma that it sees at once; None: the whole picture

    @property
    def words(self) -> str:
        frames = self.num_slots * self.batch
        flight = f"{frames} frame{'s' if frames > 1 else ''} in flight"
        batches = f" in batches of {self.batch}" if self.batch > 1 else ""
        tiles = "" if self.limit is None else f", tiles of at most {self.limit} pixels"
        return f"{flight}{batches}{tiles}"


def step_down(rung: Rung, picture: FramePlan) -> Rung | None:
    """The next lower rung; None where there is none, because smaller tiles would be nearly all margin or cannot be."""
    if rung.batch > 1:
        return replace(rung, batch=rung.batch // 2)
    if rung.num_slots > 1:
        return replace(rung, num_slots=rung.num_slots - 1)
    if not all(can_tile(each) for each in picture.passes):
        return None
    largest = max(each.shape[0] * each.shape[1] for each in picture.passes)
    limit = (largest if rung.limit is None else rung.limit) // 2
    least = max((4 * (each.spec.receptive_field or 0) + 2) ** 2 for each in picture.passes)
    return replace(rung, limit=limit) if limit >= least else None
