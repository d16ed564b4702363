"""Succession: builds what is to take over, in a thread of its own, one plane size after another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from streamsr.errors import Interrupted, StreamsrError

Size = tuple[int, ...]  # (h, w), or (n, h, w) on a device
Say = Callable[[str], None]


class Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def reason(self) -> str: ...


E = TypeVar("E", bound=Named)


@dataclass
class Candidate(Generic[E]):
    """The successor for one plane size."""

    # tried: a frame is being run on both. refused: it could not be built, disagreed or failed; it is not built again
    status: Literal["building", "built", "tried", "taken", "refused"] = "building"
    engine: E | None = None
    since: int = 0  # frames that had come when it took over


class Succession(Generic[E]):
    """build: an engine ready for planes of a size; to raise Interrupted soon after the event is set.

    say: called once for each successor that does not take over, with the reason. names: of the successor and the running engine.
    """

    def __init__(self, build: Callable[[Size, threading.Event], E], *, names: tuple[str, str], say: Say) -> None:
        self._build, self.names, self.say = build, names, say
        self.lock = threading.Lock()
        self.sizes: dict[Size, Candidate[E]] = {}
        self._wanted: queue.SimpleQueue[Size | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def find(self, size: Size) -> Candidate[E]:
        """What is known of a size; the first call for one begins its build. The caller holds the lock."""
        candidate = self.sizes.get(size)
        if candidate is None:
            candidate = self.sizes[size] = Candidate()
            self._wanted.put(size)
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._work, name="streamsr-succession", daemon=True)
                self._thread.start()
        return candidate

    def adopt(self, size: Size) -> None:
        """Build here and now what takes no time, and let it take over at once; the caller holds the lock."""
        candidate = self.sizes[size] = Candidate()
        try:
            candidate.engine = self._build(size, self._stop)
            candidate.status = "taken"
        except StreamsrError:
            del self.sizes[size]  # the thread tries again, and says it

    def claim(self, size: Size) -> tuple[Candidate[E], bool]:
        """The candidate, and whether the caller is to try it: true for one caller alone."""
        with self.lock:
            candidate = self.find(size)
            is_tried = candidate.status == "built"
            if is_tried:
                candidate.status = "tried"
            return candidate, is_tried

    def take(self, candidate: Candidate[E], since: int) -> None:
        """It has agreed: it takes over."""
        with self.lock:
            candidate.status, candidate.since = "taken", since

    def settle(self, candidate: Candidate[E], since: int, compare: Callable[[E], str]) -> bool:
        """Let a candidate that was claimed take over where it agrees with what runs; said either way.

        since: frames so far. compare: how its result differs from the running engine's, as text; "" where it agrees.
        """
        engine = candidate.engine
        assert engine is not None
        try:
            why = compare(engine)
        except StreamsrError as error:
            self.refuse(candidate, f"it failed: {error.message}")
            return False
        if why:
            self.refuse(candidate, f"its result differs: {why}")
            return False
        self.take(candidate, since)
        self.say(f"{engine.name} takes over from {self.names[1]} after frame {since}: {engine.reason}")
        return True

    def refuse(self, candidate: Candidate[E], why: str) -> None:
        """It does not take over; said once."""
        with self.lock:
            was, candidate.status = candidate.status, "refused"
        if was != "refused" and not self._stop.is_set():
            successor, running = self.names
            self.say(f"{successor} does not take over, {running} goes on: {why}")

    def _work(self) -> None:
        while (size := self._wanted.get()) is not None and not self._stop.is_set():
            candidate = self.sizes[size]
            try:
                engine = self._build(size, self._stop)
            except Interrupted:
                return
            except Exception as error:  # of any library: what runs must go on, and the fault must be said
                words = str(error) if isinstance(error, StreamsrError) else f"{type(error).__name__}: {error}"
                self.refuse(candidate, f"it cannot be built: {words}")
                continue
            with self.lock:
                candidate.engine, candidate.status = engine, "built"

    def close(self) -> list[E]:
        """Stop a build, wait until it has ended, and give back what was built."""
        self._stop.set()
        self._wanted.put(None)
        if self._thread is not None:
            self._thread.join()
        with self.lock:
            engines = [candidate.engine for candidate in self.sizes.values() if candidate.engine is not None]
            self.sizes = {}
        return engines
