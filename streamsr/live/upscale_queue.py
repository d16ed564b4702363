"""Passage: pictures on their way through one model. They are put in and taken out in the same order.

On the CPU one picture is on its way, and it is upscaled when it is taken. On a GPU `put` begins, and several are on their way at
once: one comes to the device or leaves it while another one is computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import av

from ..errors import StreamsrError
from ..upscaling.upscaler import Upscaler

if TYPE_CHECKING:
    from ..device.device_upscaler import DeviceUpscaler
    from ..device.gpu_stream import Course


class Passage(Protocol):
    @property
    def has_room(self) -> bool:
        """Whether another picture can be put beside those that are on their way."""

    def __len__(self) -> int:
        """How many are on their way."""

    def put(self, video: av.VideoFrame) -> None:
        """Begin with the next picture. What goes wrong with it is raised when it is taken."""

    def take(self) -> av.VideoFrame:
        """The picture that was put first, once it is done. After an error it is to be closed."""

    def restart(self) -> None:
        """The next picture does not follow on the last: reset the network's state."""

    def close(self) -> None:
        """Give up what is on its way."""


class HostPassage:
    """For frames in host memory."""

    def __init__(self, upscaler: Upscaler) -> None:
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
        return self._upscaler(self._waiting.popleft())

    def restart(self) -> None:
        assert not self._waiting
        self._upscaler.restart()

    def close(self) -> None:
        self._waiting.clear()


class DevicePassage:
    """For frames on a GPU: see streamsr.device.gpu_stream."""

    def __init__(self, upscaler: DeviceUpscaler) -> None:
        self._upscaler = upscaler
        self._course: Course | None = None
        self._done: deque[av.VideoFrame | StreamsrError] = deque()
        self._num_begun = 0  # and not taken yet
        self._has_failed = False

    @property
    def has_room(self) -> bool:
        return not self._num_begun or (not self._has_failed and self._course is not None and self._num_begun < self._course.num_slots)

    def __len__(self) -> int:
        return self._num_begun

    def put(self, video: av.VideoFrame) -> None:
        if self._course is None:
            self._course = self._upscaler.open_course(video)
        self._num_begun += 1
        self._keep(self._course.put(video))

    def take(self) -> av.VideoFrame:
        assert self._num_begun
        if not self._done:
            assert self._course is not None
            self._keep(self._course.land_first())
        self._num_begun -= 1
        done = self._done.popleft()
        if isinstance(done, StreamsrError):
            raise done
        return done

    def restart(self) -> None:
        if self._course is not None:
            self._keep(self._course.drain())
            self._close_course()

    def close(self) -> None:
        self._close_course()
        self._done.clear()
        self._num_begun, self._has_failed = 0, False

    def _keep(self, frames: Iterator[av.VideoFrame]) -> None:
        try:
            for frame in frames:
                self._done.append(frame)
        except StreamsrError as error:  # of the picture that was put last; those before it have come
            self._done.append(error)
            self._has_failed = True

    def _close_course(self) -> None:
        if self._course is not None:
            self._course.close()
            self._course = None


def open_passage(upscaler: Upscaler) -> Passage:
    """The one for where this upscaler has its frames."""
    if type(upscaler) is not Upscaler:
        from ..device.device_upscaler import DeviceUpscaler

        if isinstance(upscaler, DeviceUpscaler):
            return DevicePassage(upscaler)
    return HostPassage(upscaler)
