"""--loader stream: pairs made while the training runs, of which only a few are held: for folders that no cache can hold.

Job k makes the pairs of a photograph (or video) that only k and the seed decide on. The pool holds those of the last SLOTS jobs, and takes
one more every EVERY batches, so what a batch sees depends on its number alone, however fast the jobs are: a resumed run makes the last
SLOTS jobs again and goes on as the uninterrupted one would. A file that cannot be used is named once, counted, and another takes its place.
"""

import concurrent.futures
import multiprocessing
import pathlib
from collections import deque
from collections.abc import Sequence

import numpy as np

from streamsr.engines import count_threads
from trainer.data.pair_cache import MakePairs, Pair
from trainer.data.photos import Plane
from trainer.trainer_error import TrainerError

SLOTS = 64  # jobs whose pairs are held
EVERY = 8  # batches between two jobs
FIRST = 8  # jobs before the first batch
TRIES = 12  # files that a job tries
NAMED = 1000  # unusable files that are named


class Pool:
    """The pairs of the last jobs; samplers read it as they read a PairCache.

    workers: processes that make pairs; 0: this one, when a pair is needed. Call `close` at the end.
    """

    def __init__(self, files: Sequence[pathlib.Path], *, make: MakePairs, scale: int, seed: int, workers: int | None = None) -> None:
        self.files, self.make, self.scale, self.seed = files, make, scale, seed
        self.batches = 0  # drawn so far: all that a checkpoint has to hold
        self.skipped: dict[str, None] = {}
        self.num_skipped = 0
        self._held: deque[list[Pair]] = deque(maxlen=SLOTS)
        self._taken = 0  # jobs
        self._pairs: list[Pair] = []
        self.pairs: list[dict] = []  # as PairCache has them: height and width in low-resolution pixels, and a "lr" for every version
        count = max(1, count_threads(0) - 1) if workers is None else workers
        self._ahead = 2 * count
        # spawn, not fork: torch and FFmpeg may already hold threads here
        context = multiprocessing.get_context("spawn")
        self._workers = concurrent.futures.ProcessPoolExecutor(count, mp_context=context) if count else None
        self._waiting: deque[concurrent.futures.Future[tuple[list[Pair], list[str]]]] = deque()
        self._fill()

    def lr(self, index: int, version: int) -> Plane:
        return self._pairs[index][1][version]

    def hr(self, index: int) -> Plane:
        return self._pairs[index][0]

    def advance(self) -> bool:
        """Before each batch. True where the pairs have changed."""
        self.batches += 1
        return self._fill()

    def restore(self, batches: int) -> None:
        """Hold what was held after so many batches."""
        self._drop_waiting()
        self.batches = batches
        self._held.clear()
        self._taken = max(0, FIRST + batches // EVERY - SLOTS)
        self._fill()

    def close(self) -> None:
        self._drop_waiting()
        if self._workers is not None:
            self._workers.shutdown()

    def _fill(self) -> bool:
        wanted = FIRST + self.batches // EVERY
        if self._taken == wanted:
            return False
        while self._taken < wanted:
            pairs, reasons = self._next()
            for reason in reasons:
                self._note(reason)
            if not pairs:
                raise TrainerError(f"{TRIES} files one after the other cannot be used. The last: {reasons[-1]}")
            self._held.append(pairs)
            self._taken += 1
        self._pairs = [pair for pairs in self._held for pair in pairs]
        self.pairs = [{"height": lr[0].shape[0], "width": lr[0].shape[1], "lr": range(len(lr))} for _, lr in self._pairs]
        return True

    def _next(self) -> tuple[list[Pair], list[str]]:
        if self._workers is None:
            return run_job(*self._job(self._taken))
        while len(self._waiting) <= self._ahead:
            self._waiting.append(self._workers.submit(run_job, *self._job(self._taken + len(self._waiting))))
        return self._waiting.popleft().result()

    def _job(self, number: int) -> tuple[MakePairs, list[pathlib.Path], int, int]:
        rng = np.random.default_rng([self.seed, number])
        return self.make, [self.files[int(i)] for i in rng.integers(len(self.files), size=TRIES)], int(rng.integers(2**31)), self.scale

    def _note(self, reason: str) -> None:
        if reason in self.skipped:
            return
        self.num_skipped += 1
        if len(self.skipped) < NAMED:
            self.skipped[reason] = None
            print(f"skipped: {reason} ({self.num_skipped} so far)", flush=True)

    def _drop_waiting(self) -> None:
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()


def run_job(make: MakePairs, candidates: list[pathlib.Path], seed: int, scale: int) -> tuple[list[Pair], list[str]]:
    """The pairs of the first file that can be used, and why those before it cannot."""
    reasons: list[str] = []
    for path in candidates:
        try:
            return make(path, seed, scale), reasons
        except TrainerError as error:
            reasons.append(str(error))
    return [], reasons
