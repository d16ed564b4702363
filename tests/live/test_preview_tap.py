"""The tap: newest pair only, nothing encoded while nobody looks, nobody held up."""

from __future__ import annotations

import io
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as LateError

import av
import numpy as np
import pytest
from web import until

from streamsr.live.jpeg import JpegEncoder
from streamsr.live.preview_tap import Pair, Tap

WAIT_S = 30.0


def picture(value: int, width: int = 32) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((24, width, 3), value, np.uint8), format="rgb24")


def offer(tap: Tap, value: int) -> None:
    tap.offer(picture(value), picture(value, 64))


def mean(jpeg: bytes) -> float:
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as container:
        return float(next(container.decode(video=0)).to_ndarray(format="rgb24").mean())


@pytest.fixture
def tap() -> Iterator[Tap]:
    made = Tap("test")
    yield made
    made.close()


def test_a_viewer_gets_both_sides_of_one_moment(tap: Tap) -> None:
    offer(tap, 100)
    pair = tap.next_pair(-1).result(WAIT_S)
    assert (mean(pair.before), mean(pair.after)) == (pytest.approx(100, abs=2), pytest.approx(100, abs=2))
    assert (pair.before_size, pair.after_size) == ((32, 24), (64, 24))


def test_nothing_is_encoded_while_nobody_looks(tap: Tap) -> None:
    for value in range(50):
        offer(tap, value)
    assert tap.num_encoded == 0
    tap.next_pair(-1).result(WAIT_S)
    for value in range(50):
        offer(tap, value)
    assert tap.num_encoded == 1


def test_a_late_viewer_gets_the_newest_not_the_next(tap: Tap) -> None:
    for value in (10, 60, 200):
        offer(tap, value)
    assert mean(tap.next_pair(-1).result(WAIT_S).before) == pytest.approx(200, abs=2)


def test_the_last_picture_is_there_when_the_source_is_gone(tap: Tap) -> None:
    offer(tap, 80)
    first = tap.next_pair(-1).result(WAIT_S)
    assert tap.next_pair(-1).result(WAIT_S) == first
    assert tap.num_encoded == 1  # and is not encoded again for each viewer


def test_who_has_seen_the_newest_waits_for_another(tap: Tap) -> None:
    offer(tap, 10)
    seen = tap.next_pair(-1).result(WAIT_S)
    waiting = tap.next_pair(seen.number)
    with pytest.raises(LateError):
        waiting.result(0.3)
    offer(tap, 20)
    assert waiting.result(WAIT_S).number != seen.number


def test_viewers_of_one_moment_share_one_encoding(tap: Tap) -> None:
    waiting = [tap.next_pair(-1) for _ in range(20)]
    offer(tap, 10)
    assert len({future.result(WAIT_S).number for future in waiting}) == 1
    assert tap.num_encoded == 1


def test_an_encoder_that_hangs_does_not_hold_up_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, entered = threading.Event(), threading.Event()
    encode = JpegEncoder.encode

    def hang(encoder: JpegEncoder, frame: av.VideoFrame) -> bytes:
        entered.set()
        assert go_on.wait(WAIT_S)
        return encode(encoder, frame)

    monkeypatch.setattr(JpegEncoder, "encode", hang)
    tap = Tap("test")
    waiting = tap.next_pair(-1)
    offer(tap, 10)
    assert entered.wait(WAIT_S)
    for value in range(100):  # would never end if one of them waited for the encoder
        offer(tap, value)
    later = tap.next_pair(-1)
    go_on.set()
    assert mean(waiting.result(WAIT_S).before) == pytest.approx(10, abs=2)
    assert later.result(WAIT_S)
    tap.close()


def test_a_viewer_that_left_costs_nothing(tap: Tap) -> None:
    tap.next_pair(-1).cancel()
    offer(tap, 10)
    tap.next_pair(-1).result(WAIT_S)
    assert tap.num_encoded == 1


def test_only_the_newest_frames_are_kept(tap: Tap) -> None:
    """A frame is freed as soon as the next one is offered, whether somebody looks or not."""
    offered: list[weakref.ref[np.ndarray]] = []

    def offer_watched() -> None:
        samples = np.zeros((36, 32), np.uint8)
        offered.append(weakref.ref(samples))
        frame = av.VideoFrame.from_numpy_buffer(samples, format="yuv420p")
        tap.offer(frame, frame)

    def num_held() -> int:
        return sum(samples() is not None for samples in offered)

    for _ in range(30):
        offer_watched()
    assert num_held() == 1
    tap.next_pair(-1).result(WAIT_S)
    offer_watched()
    until(lambda: num_held() == 1)


def test_a_picture_that_cannot_be_shown_is_said_and_the_next_one_shown(tap: Tap) -> None:
    waiting: Future[Pair] = tap.next_pair(-1)
    tap.offer(av.VideoFrame(32, 24, "rgb96le"), picture(1))
    with pytest.raises((av.FFmpegError, ValueError)):
        waiting.result(WAIT_S)
    offer(tap, 10)
    assert tap.next_pair(-1).result(WAIT_S)


def test_closing_releases_who_waits() -> None:
    tap = Tap("test")
    waiting = tap.next_pair(-1)
    tap.close()
    with pytest.raises(CancelledError):
        waiting.result(WAIT_S)
    assert tap.next_pair(-1).cancelled()
    assert not any(thread.name == "preview of test" for thread in threading.enumerate())
