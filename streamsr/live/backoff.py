"""How long to wait before the next attempt to connect."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_S = 0.5
MOST_S = 15.0
STEADY_S = 10.0  # a connection that held so long was a good one: the waits start small again


class Backoff:
    """Waits that double from FIRST_S to MOST_S, each shortened by up to a half at random, so that many clients do not come back at once.

    attempts: how many consecutive failures are allowed. chance: uniform numbers in [0, 1).
    """

    def __init__(self, attempts: float, *, chance: Callable[[], float] = random.random) -> None:
        self.attempts = attempts
        self.num_failed = 0  # in a row
        self._chance = chance

    def wait_s(self) -> float | None:
        """Count a failure. Seconds until the next attempt, or None where there is none left."""
        if self.num_failed >= self.attempts:
            return None
        longest = min(MOST_S, FIRST_S * 2 ** min(self.num_failed, 16))
        self.num_failed += 1
        return longest * (1 - self._chance() / 2)

    def succeeded(self, held_s: float) -> None:
        """A connection held for so many seconds before it was lost."""
        if held_s >= STEADY_S:
            self.num_failed = 0
