"""FrameBackend: where frames are while they are upscaled: in host memory, or on one GPU. One interface, an implementation each.

Host memory: streamsr.upscaling.upscaler.Upscaler. A GPU: streamsr.device.device_upscaler.DeviceUpscaler. What opens the right one
is streamsr.device.upscaler_factory.open_upscaler; nothing else asks which of them it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import av


class UpscaleQueue(Protocol):
    """Frames in flight in one model. They are put in and taken out in the same order.

    In host memory one frame is in flight, and it is upscaled when it is taken. On a GPU `put` begins, and several are in flight
    at once: one comes to the device or leaves it while another one is computed.
    """

    @property
    def has_room(self) -> bool:
        """Whether another picture can be put besides those in flight."""

    def __len__(self) -> int:
        """How many are on their way."""

    def put(self, video: av.VideoFrame) -> None:
        """Begin with the next picture. What goes wrong with it is raised when it is taken."""

    def take(self) -> av.VideoFrame:
        """The picture that was put first, once it is done. After an error it is to be closed."""

    def restart(self) -> None:
        """The next picture does not follow on the last: reset the network's state."""

    def close(self) -> None:
        """Drop what is in flight."""


class FrameBackend(Protocol):
    """What pipelines need of an upscaler, wherever its frames are."""

    builds_for_minutes: bool  # whether `prepare` may take so long that it has to be done before a stream begins
    is_launched: bool  # whether frames are made by work that is put on a device: who does that should not wait for an encoder

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def reason(self) -> str: ...
    def prepare(self, width: int, height: int, pix_fmt: str = "yuv420p") -> None:
        """Load and compile for frames like this now, so that the first frame does not wait."""

    def stream(self, frames: Iterable[Any], *, like: tuple[int, int, str] | None = None) -> Iterator[Any]:
        """Upscaled frames in the same order. like: (width, height, pixel format) of the frame that decides what they become."""

    def open_queue(self) -> UpscaleQueue:
        """For whoever puts each frame in and takes it out at a time of his own; close it."""

    def deliver_surfaces(self, wanted: bool) -> None:
        """Whether results may stay in the device's memory, for an encoder that takes them from there."""

    def allow_fallback(self, wanted: bool) -> None:
        """Whether the CPU may go on where the device cannot: the user left the choice."""

    def restart(self) -> None:
        """The next single frame does not follow on the last one."""

    def close(self) -> None: ...


class HostQueue:
    """For frames in host memory. upscaler: an Upscaler."""

    def __init__(self, upscaler: Any) -> None:
        self._upscaler = upscaler
        self._waiting: deque[av.VideoFrame] = deque()

    @property
    def has_room(self) -> bool:
        return not self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, video: av.VideoFrame) -> None:
        assert not self._waiting
        self._waiting.append(video)

    def take(self) -> av.VideoFrame:
        result: av.VideoFrame = self._upscaler(self._waiting.popleft())
        return result

    def restart(self) -> None:
        assert not self._waiting
        self._upscaler.restart()

    def close(self) -> None:
        self._waiting.clear()
