"""DeviceQueue: frames in flight on a GPU, for live streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import av

from ..errors import StreamsrError

if TYPE_CHECKING:
    from .device_upscaler import DeviceUpscaler
    from .gpu_stream import GpuStream


class DeviceQueue:
    """Implements `streamsr.upscaling.frame_backend.UpscaleQueue`: see streamsr.device.gpu_stream."""

    def __init__(self, upscaler: DeviceUpscaler) -> None:
        self._upscaler = upscaler
        self._course: GpuStream | None = None
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
