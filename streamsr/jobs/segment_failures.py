"""Failures of segments: each is made again, up to MAX_TRIES times."""

from __future__ import annotations

from collections import Counter

from ..errors import EngineError

MAX_TRIES = 3  # of one segment that fails


class SegmentFailures:
    """Counts how often each segment has failed."""

    def __init__(self) -> None:
        self.num_retried = 0
        self._tries: Counter[int] = Counter()

    def add(self, number: int, cause: str, hint: str | None) -> None:
        """Segment `number` has failed and is to be made again. Raises EngineError where it failed for the last time."""
        self._tries[number] += 1
        if self._tries[number] >= MAX_TRIES:
            raise EngineError(f"Segment {number} failed {MAX_TRIES} times: {cause.rstrip('.')}.", hint=hint)
        self.num_retried += 1
