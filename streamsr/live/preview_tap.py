"""Tap: the newest pair of pictures of a stream, made into JPEGs while somebody looks."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import av

from .jpeg import JpegEncoder

GAP_S = 0.1  # between two pairs: ten a second are enough to look at


@dataclass(frozen=True, slots=True)
class Pair:
    """One moment before and after."""

    number: int
    before: bytes  # JPEG files
    after: bytes
    before_size: tuple[int, int]  # (width, height) of the stream's frames, not of the JPEGs
    after_size: tuple[int, int]
    pixel_aspect: float  # width over height of a pixel of `after`


class _Offer(NamedTuple):
    number: int
    before: av.VideoFrame
    after: av.VideoFrame
    pixel_aspect: float


class Tap:
    """A PreviewTap. `offer` keeps two references and returns; a thread of its own encodes, and only what somebody waits for.

    A viewer asks for one pair at a time, so a slow one gets fewer pictures and never old ones, and holds up nobody.
    """

    def __init__(self, name: str) -> None:
        self._condition = threading.Condition()
        self._newest: _Offer | None = None
        self._numbers = itertools.count(time.time_ns() // 1_000_000)  # a stream or program begun again goes on with other numbers
        self._pair: Pair | None = None
        self._waiting: list[tuple[int, Future[Pair]]] = []
        self._closed = threading.Event()
        self.num_encoded = 0
        self._thread = threading.Thread(target=self._run, name=f"preview of {name}", daemon=True)
        self._thread.start()

    def offer(self, before: av.VideoFrame, after: av.VideoFrame, *, pixel_aspect: Fraction = Fraction(1)) -> None:
        with self._condition:
            self._newest = _Offer(next(self._numbers), before, after, float(pixel_aspect))
            if self._waiting:
                self._condition.notify()

    def next_pair(self, seen: int) -> Future[Pair]:
        """The newest pair as soon as it is another than the one numbered `seen`. Cancel the future when nobody waits any more."""
        future: Future[Pair] = Future()
        with self._condition:
            if self._closed.is_set():
                future.cancel()
            elif self._pair is not None and self._newest is not None and seen != self._pair.number == self._newest.number:
                future.set_result(self._pair)
            else:
                self._waiting.append((seen, future))
                self._condition.notify()
        return future

    def close(self) -> None:
        """End the thread; waiting callers get a cancelled future."""
        with self._condition:
            self._closed.set()
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        encoders = JpegEncoder(), JpegEncoder()
        while (newest := self._await_work()) is not None:
            began = time.monotonic()
            try:
                pair = _encode(newest, *encoders)
            except (av.FFmpegError, ValueError) as error:  # a format that swscale cannot read: whoever asks is told
                self._answer(newest.number, None, error)
            else:
                self._answer(newest.number, pair, None)
            del newest  # frames that wait for the next ones are memory for nothing
            self._closed.wait(GAP_S - (time.monotonic() - began))

    def _await_work(self) -> _Offer | None:
        """The newest frames once somebody waits who has not seen them; None when closed."""
        with self._condition:
            while not self._closed.is_set():
                self._waiting = [(seen, future) for seen, future in self._waiting if not future.cancelled()]
                if self._newest is not None and any(seen != self._newest.number for seen, _ in self._waiting):
                    return self._newest
                self._condition.wait()
            for _, future in self._waiting:
                future.cancel()
            return None

    def _answer(self, number: int, pair: Pair | None, error: Exception | None) -> None:
        with self._condition:
            self._pair = pair
            self.num_encoded += pair is not None
            served = [future for seen, future in self._waiting if seen != number]
            self._waiting = [(seen, future) for seen, future in self._waiting if seen == number]
        for future in served:
            if not future.set_running_or_notify_cancel():
                continue
            if pair is not None:
                future.set_result(pair)
            else:
                future.set_exception(error)


def _encode(offer: _Offer, before: JpegEncoder, after: JpegEncoder) -> Pair:
    sizes = (offer.before.width, offer.before.height), (offer.after.width, offer.after.height)
    return Pair(offer.number, before.encode(offer.before), after.encode(offer.after), *sizes, offer.pixel_aspect)
