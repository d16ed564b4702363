"""Order: luma planes in flight in the network, each enlarged once; those of a recurrent network one after another."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from streamsr.engines import State
from streamsr.upscaling.chroma_grid import Grid
from streamsr.upscaling.source_condition import Condition


class Enlarge(Protocol):
    """See `streamsr.upscaling.upscaler.Upscaler.enlarge`."""

    def __call__(
        self, luma: np.ndarray, target: tuple[int, int], *, bits: int, states: dict[int, State], chroma: SourceChroma | None
    ) -> Enlarged | None: ...


@dataclass(frozen=True, slots=True)
class SourceChroma:
    """The chroma of a source frame, for networks that take it.

    planes: (2, h, w), Cb and Cr as they come. grid: their sample positions. condition: of the source.
    """

    planes: np.ndarray
    grid: Grid
    condition: Condition


@dataclass(frozen=True, slots=True)
class Enlarged:
    """What the network made of a frame.

    luma: (h, w) at exactly the target size. chroma: (2, h, w) on `grid`, in pixels of the target; None where a network of luma was run.
    """

    luma: np.ndarray
    chroma: np.ndarray | None = None
    grid: Grid | None = None


class Luma:
    """A luma plane, with the chroma that belongs to it, and, once one thread has made it, what it became, for all frames that show it."""

    def __init__(self, samples: np.ndarray, target: tuple[int, int], bits: int, chroma: SourceChroma | None = None) -> None:
        self.samples = samples
        self.target = target  # width, height
        self.bits = bits
        self.chroma = chroma
        self._future: Future[Enlarged | None] = Future()
        self._claim = threading.Lock()

    @property
    def is_made(self) -> bool:
        return self._future.done()

    def make(self, enlarge: Enlarge, states: dict[int, State]) -> None:
        """Enlarge, unless another thread does or has done so."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._future.set_result(enlarge(self.samples, self.target, bits=self.bits, states=states, chroma=self.chroma))
        except BaseException as error:
            self._future.set_exception(error)

    def result(self) -> Enlarged | None:
        """What it became, None where no network is needed; waits for it. Raises what making it raised."""
        return self._future.result()

    @property
    def has_failed(self) -> bool:
        return self._future.done() and self._future.exception() is not None


class AnyOrder:
    """For networks without a state: each thread makes the plane that it needs."""

    def __init__(self, enlarge: Enlarge) -> None:
        self._enlarge = enlarge

    def add(self, luma: Luma, *, goes_on: bool) -> None:
        """Nothing to remember."""

    def enlarge(self, luma: Luma) -> Enlarged | None:
        luma.make(self._enlarge, {})
        return luma.result()


class InOrder:
    """For recurrent networks: whoever needs a plane first makes all that came before it, so none is overtaken or forgotten."""

    def __init__(self, enlarge: Enlarge) -> None:
        self._enlarge = enlarge
        self._waiting: deque[tuple[Luma, bool]] = deque()
        self._turn = threading.Lock()
        self._states: dict[int, State] = {}  # of each pass through the network; {} before the first frame of a scene

    def add(self, luma: Luma, *, goes_on: bool) -> None:
        """Take the next plane of the stream; where it does not go on from the last one, the state starts anew."""
        self._waiting.append((luma, goes_on))

    def enlarge(self, luma: Luma) -> Enlarged | None:
        with self._turn:
            while not luma.is_made:
                first, goes_on = self._waiting.popleft()
                if not goes_on:
                    self._states.clear()
                first.make(self._enlarge, self._states)
                if first.has_failed:
                    self._states.clear()
        return luma.result()
