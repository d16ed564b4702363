"""Waits before the next attempt: they double, are jittered, bounded, and start small again after a good connection."""

from __future__ import annotations

import pytest

from streamsr.live.backoff import MOST_S, STEADY_S, Backoff


def test_waits_double_up_to_the_bound() -> None:
    backoff = Backoff(float("inf"), chance=lambda: 0.0)
    assert [backoff.wait_s() for _ in range(8)] == [0.5, 1, 2, 4, 8, MOST_S, MOST_S, MOST_S]
    assert [backoff.wait_s() for _ in range(5000)][-1] == MOST_S


def test_jitter_takes_up_to_a_half() -> None:
    waits = [Backoff(float("inf")).wait_s() for _ in range(200)]
    assert all(wait is not None and 0.25 <= wait <= 0.5 for wait in waits)
    assert len(set(waits)) > 100


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_attempts_in_a_row_are_counted(attempts: int) -> None:
    backoff = Backoff(attempts)
    assert [backoff.wait_s() is None for _ in range(attempts + 1)] == [False] * attempts + [True]


def test_only_a_steady_connection_starts_the_waits_anew() -> None:
    backoff = Backoff(3, chance=lambda: 0.0)
    backoff.wait_s()
    backoff.succeeded(STEADY_S / 2)  # a server that accepts and hangs up at once
    assert backoff.wait_s() == 1
    backoff.succeeded(STEADY_S)
    assert backoff.wait_s() == 0.5
