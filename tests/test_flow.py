"""prefetch: order, errors, bound, stop and close."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.flow import prefetch

WAIT_S = 10.0  # far past what a thread needs on a busy machine


def wait_until(condition: object) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.005)


@settings(max_examples=40)
@given(items=st.lists(st.one_of(st.none(), st.integers())), depth=st.integers(1, 5))
def test_items_come_in_order(items: list[int | None], depth: int) -> None:
    assert list(prefetch(iter(items), depth=depth)) == items


@settings(max_examples=30)
@given(before=st.integers(0, 12), depth=st.integers(1, 4))
def test_error_comes_after_the_items_before_it(before: int, depth: int) -> None:
    def fails() -> Iterator[int]:
        yield from range(before)
        raise RuntimeError("broken")

    ahead = prefetch(fails(), depth=depth)
    assert [next(ahead) for _ in range(before)] == list(range(before))
    with pytest.raises(RuntimeError, match="broken"):
        next(ahead)


@settings(max_examples=15)
@given(depth=st.integers(1, 5), taken=st.integers(0, 4))
def test_no_more_than_depth_items_wait(depth: int, taken: int) -> None:
    made = 0

    def count() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    with closing(prefetch(count(), depth=depth)) as ahead:
        for _ in range(taken + 1):
            next(ahead)
        wait_until(lambda: made >= taken + 1 + depth)
        time.sleep(0.02)
        assert made <= taken + 1 + depth + 1  # one is in the producer's hands


def test_nothing_starts_before_the_first_item_is_asked_for() -> None:
    made = []
    prefetch((made.append(n) for n in range(3)), depth=2)
    assert made == []


def test_stop_ends_a_producer_that_hangs() -> None:
    stop, hang = threading.Event(), threading.Event()

    def hangs() -> Iterator[int]:
        yield 1
        hang.wait(WAIT_S * 3)

    ahead = prefetch(hangs(), depth=2, stop=stop)
    assert next(ahead) == 1
    threading.Timer(0.05, stop.set).start()
    at = time.monotonic()
    assert list(ahead) == []
    assert time.monotonic() - at < WAIT_S
    hang.set()


def test_close_ends_the_producer() -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    ahead = prefetch(endless(), depth=2)
    next(ahead)
    assert not ended.is_set()
    ahead.close()
    assert ended.wait(WAIT_S)  # what the generator holds is freed
    wait_until(lambda: not any(thread.name == "streamsr-prefetch" and thread.is_alive() for thread in threading.enumerate()))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_every_kind_of_error_reaches_the_consumer(error: type[BaseException]) -> None:
    def fails() -> Iterator[int]:
        raise error
        yield 0

    with pytest.raises(error):
        list(prefetch(fails(), depth=1))


def test_producer_works_while_the_consumer_does() -> None:
    asked = threading.Event()

    def two() -> Iterator[int]:
        yield 1
        asked.set()
        yield 2

    ahead = prefetch(two(), depth=1)
    assert next(ahead) == 1
    assert asked.wait(WAIT_S)
    assert list(ahead) == [2]
