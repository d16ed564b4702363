"""What a stream counts about itself, against NumPy's percentiles and counts made by hand."""

from __future__ import annotations

import json
import threading
from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.live.telemetry import LATENCY_BUCKETS_S, WINDOW_S, StreamTelemetry


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_new_stream_is_connecting_and_has_counted_nothing(clock: Clock) -> None:
    snapshot = StreamTelemetry("cam", clock=clock).snapshot()
    assert snapshot["state"] == {"source": "connecting", "sink": "connecting"}
    assert snapshot["frames_in"] == snapshot["frames_out"] == snapshot["fps_in"] == snapshot["fps_out"] == 0
    assert snapshot["latency"]["p99_s"] is None
    assert snapshot["latency"]["max_s"] is None
    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot


def test_rates_are_means_of_the_last_whole_seconds(clock: Clock) -> None:
    telemetry = StreamTelemetry("cam", clock=clock)
    for frame in range(25 * 20):
        clock.now = 1000 + frame / 25
        telemetry.frame_in()
        if frame % 5 < 2:
            telemetry.frame_out(0.01)
    snapshot = telemetry.snapshot()
    assert (snapshot["fps_in"], snapshot["fps_out"]) == (25, 10)
    assert (snapshot["frames_in"], snapshot["frames_out"]) == (500, 200)


def test_rates_fall_to_zero_when_the_source_is_gone(clock: Clock) -> None:
    telemetry = StreamTelemetry("cam", clock=clock)
    telemetry.frame_in(100)
    clock.now += WINDOW_S + 1
    assert telemetry.snapshot()["fps_in"] == 0
    assert telemetry.snapshot()["frames_in"] == 100


def test_recent_latency_forgets_and_the_total_does_not(clock: Clock) -> None:
    telemetry = StreamTelemetry("cam", clock=clock)
    telemetry.frame_out(3.0)
    clock.now += WINDOW_S + 1
    telemetry.frame_out(0.02)
    snapshot = telemetry.snapshot()
    assert snapshot["latency"]["max_s"] == 3.0
    assert snapshot["latency_recent"]["max_s"] == 0.02
    assert snapshot["latency_recent"]["count"] == 1


@given(st.lists(st.floats(0, 30), min_size=1, max_size=200))
def test_quantiles_lie_in_the_bucket_of_the_true_value(latencies: list[float]) -> None:
    telemetry = StreamTelemetry("cam", clock=Clock())
    for latency in latencies:
        telemetry.frame_out(latency)
    got = telemetry.snapshot()["latency"]
    for share, name in ((0.5, "p50_s"), (0.95, "p95_s"), (0.99, "p99_s")):
        true = float(np.quantile(latencies, share, method="inverted_cdf"))
        bucket = bisect_left(LATENCY_BUCKETS_S, true)
        lower, upper = (0.0, *LATENCY_BUCKETS_S)[bucket], (*LATENCY_BUCKETS_S, max(latencies))[bucket]
        assert lower <= got[name] <= upper or got[name] == max(latencies)
    assert got["max_s"] == max(latencies)
    assert got["sum_s"] == pytest.approx(sum(latencies))
    assert sum(got["counts"]) == got["count"] == len(latencies)


def test_a_latency_on_the_bound_counts_in_the_lower_bucket(clock: Clock) -> None:
    """Prometheus says `le`: less or equal."""
    telemetry = StreamTelemetry("cam", clock=clock)
    telemetry.frame_out(LATENCY_BUCKETS_S[3])
    assert telemetry.snapshot()["latency"]["counts"][3] == 1


def test_drops_reconnects_and_states_are_kept_apart(clock: Clock) -> None:
    telemetry = StreamTelemetry("cam", clock=clock)
    telemetry.dropped("late", 3)
    telemetry.dropped("sink lost")
    telemetry.dropped("late")
    telemetry.reconnected("sink")
    telemetry.state("source", "connected")
    telemetry.queue_depth(2)
    telemetry.engine_seconds(0.5)
    telemetry.engine_seconds(0.25)
    telemetry.model("lite")
    clock.now += 7
    telemetry.state("source", "connected")  # said again: not a new state
    snapshot = telemetry.snapshot()
    assert snapshot["dropped"] == {"late": 4, "sink lost": 1}
    assert snapshot["reconnects"] == {"source": 0, "sink": 1}
    assert snapshot["state"]["source"] == "connected"
    assert snapshot["state_s"]["source"] == 7
    assert (snapshot["queue_depth"], snapshot["engine_s"], snapshot["model"]) == (2, 0.75, "lite")


def test_a_loop_that_stands_still_shows(clock: Clock) -> None:
    telemetry = StreamTelemetry("cam", clock=clock)
    clock.now += 60
    telemetry.frame_in()  # the reader's thread is alive, the loop is not
    assert telemetry.snapshot()["turned_s"] == 60
    telemetry.turn()
    assert telemetry.snapshot()["turned_s"] == 0


def test_no_count_is_lost_between_threads() -> None:
    telemetry = StreamTelemetry("cam")

    def work() -> None:
        for _ in range(2000):
            telemetry.frame_in()
            telemetry.frame_out(0.01)
            telemetry.dropped("late")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = telemetry.snapshot()
    assert snapshot["frames_in"] == snapshot["frames_out"] == snapshot["dropped"]["late"] == snapshot["latency"]["count"] == 8000
