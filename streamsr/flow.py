"""The only thread helper: run a generator ahead of its consumer, with a bound."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.1  # how soon a waiting side notices that the other has gone


class _End:
    """The last thing in the queue: the error that ended the producer, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(
    items: Iterable[T], *, depth: int, stop: threading.Event | None = None, join_s: float | None = 1.0
) -> Generator[T, None, None]:  # fmt: skip
    """Yield `items` in order while a thread produces up to `depth` of them ahead.

    An error in the producer is raised here, after the items before it. When `stop` is set, iteration ends as if the
    items had. Closing the generator ends the producer at its next item, and `items`, where they are a generator, in the same thread.
    join_s: how long closing waits for the thread; None: until it has ended, where the caller frees next what it uses.
    """
    ahead: queue.Queue[T | _End] = queue.Queue(depth)
    closed = threading.Event()

    def put(item: T | _End) -> bool:
        while not closed.is_set():
            try:
                ahead.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
            if isinstance(items, Generator):
                items.close()
        except BaseException as caught:  # handed over and raised in the consumer's thread
            error = caught
        put(_End(error))

    # daemon: a read that hangs on a pipe must not keep the process alive after Ctrl-C
    thread = threading.Thread(target=produce, name="streamsr-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            if stop is not None and stop.is_set():
                return
            try:
                item = ahead.get(timeout=_POLL_S)
            except queue.Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        closed.set()
        thread.join(timeout=join_s)
