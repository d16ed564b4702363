"""From the source's clock to the output's: exact within one clock, monotonic over jumps, gaps and reconnects."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.live.timeline import STALE_S, STEP_S, Timeline

STEP = 0.04


def play(timeline: Timeline, start_media: float, start: float, count: int, *, delay: float = 0.0) -> list[float | None]:
    """Frames that arrive on time, each delivered at once."""
    return [
        timeline.deliver(timeline.place("video", start_media + n * STEP, start + n * STEP + delay), start + n * STEP + delay)
        for n in range(count)
    ]  # fmt: skip


def test_output_times_have_the_sources_distances() -> None:
    out = play(Timeline(), 123.456, 1000.0, 50)
    assert out[0] == pytest.approx(0)
    assert out == pytest.approx([n * STEP for n in range(50)])


def test_audio_and_picture_move_together_over_a_jump() -> None:
    timeline = Timeline()
    play(timeline, 10, 1000, 25)
    timeline.place("audio", 11.0, 1001.0)
    video = timeline.place("video", 5000.0, 1001.0)  # the clock was set
    early = timeline.place("audio", 11.02, 1001.02)  # a packet of the old clock still comes
    audio = timeline.place("audio", 5000.1, 1001.1)
    assert video == pytest.approx(1.0)
    assert early == pytest.approx(1.02)
    assert audio - video == pytest.approx(0.1)
    assert timeline.num_jumps == 1


@pytest.mark.parametrize("target", [0.0, -500.0, 95443.0])
def test_a_jump_goes_on_at_the_wall_clock(target: float) -> None:
    timeline = Timeline()
    before = play(timeline, 300.0, 1000.0, 25)
    after = play(timeline, target, 1001.0, 25)
    assert after[0] == pytest.approx(1.0)
    assert before[-1] is not None
    assert after[0] > before[-1]
    assert after == pytest.approx([1.0 + n * STEP for n in range(25)])


def test_a_reconnect_leaves_the_gap_that_there_was() -> None:
    timeline = Timeline()
    play(timeline, 300.0, 1000.0, 25)
    timeline.new_session()
    after = play(timeline, 17.0, 1007.5, 5)
    assert after[0] == pytest.approx(7.5)


def test_held_pictures_follow_the_wall_clock_and_nothing_goes_back_behind_them() -> None:
    timeline = Timeline()
    play(timeline, 300.0, 1000.0, 25)
    assert timeline.hold(1001.5) == pytest.approx(1.5)
    assert timeline.hold(1001.5) is None  # the same moment again
    # the network stood still: what it held up comes at once, and is past
    assert timeline.deliver(timeline.place("video", 301.0, 1001.6), 1001.6) is None
    assert timeline.deliver(timeline.place("video", 301.6, 1001.61), 1001.61) == pytest.approx(1.6)


def test_times_differ_in_milliseconds_too() -> None:
    timeline = Timeline()
    play(timeline, 300.0, 1000.0, 25)
    held = timeline.hold(1001.5)
    assert timeline.hold(1001.5005) is None
    timeline.new_session()
    after = play(timeline, 17.0, 1001.5003, 3)  # its first frame comes right behind the picture that was shown again
    assert after == pytest.approx([held + STEP_S, held + 0.0003 + STEP, held + 0.0003 + 2 * STEP])


def test_a_source_that_paused_is_moved_and_not_dropped_for_ever() -> None:
    timeline = Timeline()
    play(timeline, 300.0, 1000.0, 25)
    for n in range(100):
        timeline.hold(1001 + n * STEP)
    out = play(timeline, 301.0, 1005.0, 100)  # its clock stood still for four seconds
    lost = [time for time in out if time is None]
    assert 0 < len(lost) <= STALE_S / STEP + 2
    kept = [time for time in out if time is not None]
    assert kept == sorted(kept)
    assert kept[-1] == pytest.approx(5 + 99 * STEP, abs=0.1)


def test_lateness_is_measured_against_the_least_delayed() -> None:
    timeline = Timeline()
    for n in range(25):
        timeline.place("video", n * STEP, 1000 + n * STEP + (0.3 if n % 5 else 0.0))
    out = timeline.place("video", 1.0, 1001.0)
    assert timeline.late_s(out, 1001.2) == pytest.approx(0.2)


def test_a_backlog_in_the_socket_shows_as_lateness() -> None:
    """Frames that were not waited for came earlier than they were read: however long that goes on, they are late."""
    timeline = Timeline()
    play(timeline, 0, 1000, 25)
    late = 0.0
    for n in range(25, 1000):
        now = 1000 + n * STEP + 3.0
        late = timeline.late_s(timeline.place("video", n * STEP, now, fresh=False), now)
    assert late == pytest.approx(3.0)


@given(st.lists(st.tuples(st.sampled_from(["frame", "hold", "jump", "back", "session", "stall"]), st.floats(0.001, 3)), max_size=80))
def test_whatever_happens_time_goes_forward(events: list[tuple[str, float]]) -> None:
    timeline, now, media, out = Timeline(), 1000.0, 50.0, [-1.0]
    for event, amount in events:
        now += 0.0 if event == "stall" else amount / 10
        media += {"jump": 1000 * amount, "back": -20 * amount}.get(event, amount / 10)
        if event == "session":
            timeline.new_session()
        time = timeline.hold(now) if event == "hold" else timeline.deliver(timeline.place("video", media, now), now)
        if time is not None:
            out.append(time)
    assert all(b - a > STEP_S - 1e-9 for a, b in pairwise(out))
