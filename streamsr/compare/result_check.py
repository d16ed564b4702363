"""ResultCheck: scores every N-th result of a run against its own source, while the run goes on.

The result is brought back to the source's size (means over areas), so what the network added may not show, but what it changed does:
shifted colours, invented structure, a picture out of place. A plain enlargement scores near 1.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import av

from ..errors import EngineError, StreamsrError
from ..frame import fetch
from .comparable_planes import to_pictures
from .pban import PbanScorer

_log = logging.getLogger("streamsr.compare")


class ResultCheck:
    """Called with each source frame and its result, in their order. Use as a context manager.

    device: of the metric, "cuda:0" or "cpu"; the CPU stands in, with a warning, for a GPU that cannot run it. waits: measure every
    N-th pair, however long that takes; else a pair that comes while another is measured is passed over. on_score: called with each score.
    """

    def __init__(
        self, every: int, *, device: str = "cpu", threads: int = 0, waits: bool = True, on_score: Callable[[float], None] | None = None
    ) -> None:
        self.every, self._waits, self._on_score = every, waits, on_score
        self._judge = _open_judge(device, threads)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="result-check")
        self._lock = threading.Lock()
        self._running: Future[None] | None = None
        self._num_seen = 0
        self._is_broken = False
        self.scores: list[tuple[float, float]] = []  # (seconds, score)
        self.num_passed_over = 0  # for want of time, or too small for the metric

    def __call__(self, source: av.VideoFrame, result: av.VideoFrame) -> None:
        number, self._num_seen = self._num_seen, self._num_seen + 1
        if number % self.every or self._is_broken:
            return
        if self._running is not None and not self._running.done() and not self._waits:
            self.num_passed_over += 1
            return
        self._settle()
        pair = fetch(source), fetch(result)  # here: a surface is the encoder's from now on
        self._running = self._pool.submit(self._measure, *pair)

    def _measure(self, source: av.VideoFrame, result: av.VideoFrame) -> None:
        if min(source.width, source.height) < self._judge.min_side:
            self.num_passed_over += 1
            return
        small = result.reformat(width=source.width, height=source.height, interpolation="AREA", threads=1)
        mine, theirs = to_pictures(small, source)
        score = self._judge(mine.rgb, theirs.rgb)
        time_base = source.time_base
        with self._lock:
            self.scores.append((float((source.pts or 0) * time_base) if time_base is not None else 0.0, score))
        if self._on_score is not None:
            self._on_score(score)

    def _settle(self) -> None:
        """Wait for what is being measured. A stream that does not wait goes on without scores where measuring fails."""
        running, self._running = self._running, None
        if running is None:
            return
        try:
            running.result()
        except StreamsrError as error:
            if self._waits:
                raise
            self._is_broken = True
            _log.warning("results are not scored any more: %s", error.message)

    def as_dict(self) -> dict[str, Any]:
        """For a report: every, num_measured, num_passed_over, mean, lowest and lowest_s (when); None without a score."""
        with self._lock:
            scores = list(self.scores)
        lowest = min(scores, key=lambda each: each[1], default=(None, None))
        mean = sum(score for _, score in scores) / len(scores) if scores else None
        return {
            "every": self.every, "num_measured": len(scores), "num_passed_over": self.num_passed_over, "mean": mean,
            "lowest": lowest[1], "lowest_s": lowest[0],
        }  # fmt: skip

    def line(self) -> str:
        """The findings as text."""
        found = self.as_dict()
        if found["mean"] is None:
            return f"no frame was scored against the source: it needs {self._judge.min_side} pixels a side"
        return (
            f"against the source, {found['num_measured']} frames by Efficient-PBAN: mean {found['mean']:.3f}, "
            f"lowest {found['lowest']:.3f} at {found['lowest_s']:.2f} s"
        )

    def close(self) -> None:
        """Finish what is being measured. Raises what measuring raised."""
        try:
            self._settle()
        finally:
            self._pool.shutdown()

    def __enter__(self) -> ResultCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open_judge(device: str, threads: int) -> PbanScorer:
    if device.startswith("cuda"):
        try:
            return PbanScorer(device=device.partition(",")[0])
        except EngineError as error:
            _log.warning("the metric runs on the CPU: %s", error.message)
    return PbanScorer(threads=threads)
