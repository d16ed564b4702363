"""FrameBuffer: between the reader's thread and the loop. The newest frame wins; nothing waits longer than it may."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import av

MAX_FRAMES = 32  # a bound on memory; the bound on time is the caller's


@dataclass(slots=True)
class TimedFrame:
    """A decoded frame on its way."""

    video: av.VideoFrame
    out_s: float  # output time, see streamsr.live.timeline
    arrived: float  # when its packet had been read, monotonic seconds
    session: int  # number of the source's connection
    interval_s: float  # to the next frame, nominal


class FrameBuffer:
    """Holds decoded frames in order. Until it is opened it keeps and counts the newest one alone: nobody can use the others.

    late_s: how far behind the source's clock a picture is now.
    came: called for every picture. dropped: called with the reason and the count of dropped pictures.
    """

    def __init__(
        self, max_latency_s: float, *, late_s: Callable[[TimedFrame], float], came: Callable[[], None], dropped: Callable[[str, int], None]
    ) -> None:
        self._max_latency_s = max_latency_s
        self._late_s, self._came, self._dropped = late_s, came, dropped
        self._pictures: deque[TimedFrame] = deque()
        self._changed = threading.Condition()
        self._is_open = self._is_closed = False
        self.num_before = 0  # pictures that came too early to be used

    def __len__(self) -> int:
        return len(self._pictures)

    def open(self) -> None:
        """From now on pictures are wanted."""
        with self._changed:
            self._is_open = True
            for _ in self._pictures:
                self._came()

    def put(self, picture: TimedFrame) -> None:
        """Never waits: where the buffer is full, the oldest picture goes."""
        full = False
        with self._changed:
            if self._is_closed:
                return
            if self._is_open:
                self._came()
                full = len(self._pictures) >= MAX_FRAMES
                if full:
                    self._pictures.popleft()
            else:
                self.num_before += len(self._pictures)
                self._pictures.clear()
            self._pictures.append(picture)
            self._changed.notify()
        if full:
            self._dropped("late", 1)

    def peek(self, timeout_s: float) -> TimedFrame | None:
        """The picture that is next, which stays; None when none came in time."""
        with self._changed:
            if not self._pictures:
                self._changed.wait(timeout_s)
            return self._pictures[0] if self._pictures else None

    def take(self, timeout_s: float) -> TimedFrame | None:
        """The oldest picture that is not too late, or the newest where all are; None when none came in time."""
        late = 0
        with self._changed:
            if not self._pictures and timeout_s > 0:
                self._changed.wait(timeout_s)
            if not self._pictures:
                return None
            if self._late_s(self._pictures[0]) > self._max_latency_s:
                late = len(self._pictures) - 1  # behind: one step to the newest, not one frame at a time
                for _ in range(late):
                    self._pictures.popleft()
            picture = self._pictures.popleft()
        if late:
            self._dropped("late", late)
        return picture

    def take_early(self, wait_s: float) -> TimedFrame | None:
        """The oldest picture, if it is not too late even when its turn comes in `wait_s`; else it stays for `take` to judge."""
        with self._changed:
            if not self._pictures or self._late_s(self._pictures[0]) + wait_s > self._max_latency_s:
                return None
            return self._pictures.popleft()

    def close(self) -> None:
        """No more pictures are wanted; those that wait can still be taken."""
        with self._changed:
            self._is_closed = True

    def wake(self) -> None:
        """Let `take` return now."""
        with self._changed:
            self._changed.notify_all()
