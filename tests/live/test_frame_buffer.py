"""The newest frame wins, and every frame that does not is counted."""

from __future__ import annotations

from typing import Any

import av
import pytest

from streamsr.live.frame_buffer import MAX_FRAMES, FrameBuffer, TimedFrame


class Case:
    """A buffer with a clock made by hand: a picture is late by what `late` says of its output time."""

    def __init__(self) -> None:
        self.num_in = 0
        self.dropped: dict[str, int] = {}
        self.late: dict[float, float] = {}
        self.buffer = FrameBuffer(0.5, late_s=lambda picture: self.late.get(picture.out_s, 0.0), came=self._came, dropped=self._dropped)

    def _came(self) -> None:
        self.num_in += 1

    def _dropped(self, reason: str, count: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def put(self, *times: float) -> None:
        for time in times:
            self.buffer.put(TimedFrame(av.VideoFrame(16, 16, "gray"), time, time, 1, 0.04))

    def take(self) -> Any:
        picture = self.buffer.take(0)
        return None if picture is None else picture.out_s


@pytest.fixture
def case() -> Case:
    made = Case()
    made.buffer.open()
    return made


def test_frames_in_time_come_in_order(case: Case) -> None:
    case.put(1, 2, 3)
    assert [case.take() for _ in range(4)] == [1, 2, 3, None]
    assert case.dropped == {}


def test_behind_the_clock_the_newest_wins(case: Case) -> None:
    case.put(1, 2, 3, 4)
    case.late = {1: 0.6, 2: 0.55, 3: 0.52, 4: 0.4}
    assert case.take() == 4
    assert case.dropped == {"late": 3}


def test_a_late_frame_is_shown_where_there_is_no_newer_one(case: Case) -> None:
    case.put(1)
    case.late = {1: 9.0}
    assert case.take() == 1
    assert case.dropped == {}


def test_a_full_buffer_gives_up_the_oldest(case: Case) -> None:
    case.put(*range(MAX_FRAMES + 3))
    assert case.take() == 3
    assert case.dropped == {"late": 3}
    assert case.num_in == MAX_FRAMES + 3


def test_before_it_is_open_only_the_newest_is_kept_and_counted() -> None:
    case = Case()
    case.put(1, 2, 3)
    assert (case.num_in, case.buffer.num_before) == (0, 2)
    case.buffer.open()
    assert case.num_in == 1
    assert [case.take(), case.take()] == [3, None]
    assert case.dropped == {}


def test_a_closed_buffer_takes_no_more(case: Case) -> None:
    case.put(1)
    case.buffer.close()
    case.put(2)
    assert [case.take(), case.take()] == [1, None]
    assert case.num_in == 1


def test_a_picture_is_taken_early_only_where_it_will_be_in_time(case: Case) -> None:
    case.put(1, 2)
    case.late = {1: 0.3, 2: 0.1}
    assert case.buffer.take_early(0.25) is None
    early = case.buffer.take_early(0.15)
    assert early is not None
    assert early.out_s == 1
    assert case.take() == 2
    assert case.buffer.take_early(0.0) is None
    assert case.dropped == {}
