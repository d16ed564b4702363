"""Ladder: when to lower quality to stay in real time, and when to raise it again.

The steps go from the model that was asked for down to the plain resize. One step down after DOWN_S of strain, one step up after a
time of ease that doubles with every attempt that failed, so that a machine at its limit does not switch every few seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

DOWN_S = 2.0  # of strain before a step down
UP_S = 10.0  # of ease before a step up
UP_MOST_S = 320.0
FULL = 0.95  # share of the time between two frames that a frame may take
ROOM = 0.75  # the same, for the better step, before it is tried again: the gap to FULL keeps it from swinging


@dataclass(slots=True)
class _Seen:
    at: float
    work_s: float
    late_s: float
    dropped: int


class Ladder:
    """Watches one stream and selects the step that it should run on: 0 is the best.

    steps: names of the models, best first. max_latency_s: how late a frame may be.
    """

    def __init__(self, steps: list[str], max_latency_s: float) -> None:
        self.steps = steps
        self.step = 0
        self.num_changes = 0
        self._max_latency_s = max_latency_s
        self._seen: deque[_Seen] = deque()
        self._cost_s: dict[int, float] = {}  # median work a frame of each step, when it was left
        self._changed = -float("inf")
        self._wait_s = UP_S

    def observe(self, now: float, *, interval_s: float, work_s: float, late_s: float, dropped: int) -> int:
        """Note one frame and return the step for the next.

        interval_s: between two frames of the source. work_s: what the frame took in here. late_s: how far behind the source's clock
        it was when its turn came. dropped: frames given up for lateness since the last call.
        """
        self._seen.append(_Seen(now, work_s, late_s, dropped))
        while self._seen and now - self._seen[0].at > DOWN_S:
            self._seen.popleft()
        if now - self._changed < DOWN_S or len(self._seen) < 3:
            return self.step
        work = sorted(seen.work_s for seen in self._seen)[len(self._seen) // 2]
        late = sorted(seen.late_s for seen in self._seen)[len(self._seen) // 2]
        num_dropped = sum(seen.dropped for seen in self._seen)
        strained = work > FULL * interval_s and (num_dropped > 0 or late > self._max_latency_s / 2)
        if strained and self.step + 1 < len(self.steps):
            self._cost_s[self.step] = work
            self.follow(self.step + 1, now)
        elif self.step and now - self._changed >= self._wait_s and late < self._max_latency_s / 4 and not num_dropped:
            # the better step once took its cost; where the machine was busy then, only trying tells, so trust it less with time
            expected = self._cost_s.get(self.step - 1, 0.0)
            if expected < ROOM * interval_s or now - self._changed >= 2 * self._wait_s:
                self._move(self.step - 1, now)
        return self.step

    def follow(self, step: int, now: float) -> None:
        """Go down to this step now: the better one takes too long, or cannot run."""
        if step != self.step:
            if now - self._changed < 2 * self._wait_s and self.num_changes:
                self._wait_s = min(2 * self._wait_s, UP_MOST_S)  # the last step up was a mistake
            self._move(step, now)

    def _move(self, step: int, now: float) -> None:
        self.step = step
        self.num_changes += 1
        self._changed = now
        self._seen.clear()
