"""What a live stream counts about itself, and its two readers: StreamTelemetry, and the PreviewTap protocol.

The loop writes, whatever watches (metrics, preview, log, report) reads `snapshot()`. There is one set of counters.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import av

Side = Literal["source", "sink"]
State = Literal["connecting", "connected", "lost", "ended"]

# Upper bounds in seconds, each included; one more bucket holds what is slower. Dense where live video lives: a frame at
# 25 fps takes 40 ms, the promises are 60 and 150 ms, the default --max-latency is 500 ms.
LATENCY_BUCKETS_S = (
    0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
WINDOW_S = 5  # what "recent" means: this many whole seconds


class PreviewTap(Protocol):
    """Where the loop shows its pictures."""

    def offer(self, before: av.VideoFrame, after: av.VideoFrame, *, pixel_aspect: Fraction = Fraction(1)) -> None:
        """Show a pair. Never blocks, never raises, and keeps at most the newest pair; call it for each frame that goes out.

        before: the decoded picture. after: the result. Both are only read, and must not be written any more.
        pixel_aspect: width over height of a pixel of `after`, which a frame itself does not tell.
        """


class Histogram:
    """Counts of durations in the buckets of LATENCY_BUCKETS_S."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS_S) + 1)
        self.sum_s = 0.0
        self.max_s = 0.0

    def add(self, duration_s: float) -> None:
        self.counts[bisect_left(LATENCY_BUCKETS_S, duration_s)] += 1
        self.sum_s += duration_s
        self.max_s = max(self.max_s, duration_s)

    def merge(self, other: Histogram) -> None:
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s
        self.max_s = max(self.max_s, other.max_s)

    def quantile(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of all stay within: exact to the bucket, linear inside it; None without any."""
        wanted = share * sum(self.counts)
        below, lower = 0, 0.0
        for count, upper in zip(self.counts, (*LATENCY_BUCKETS_S, self.max_s), strict=True):
            if count and below + count >= wanted:
                return min(lower + (upper - lower) * max(wanted - below, 0) / count, self.max_s)
            below, lower = below + count, upper
        return None

    def as_dict(self) -> dict[str, Any]:
        count = sum(self.counts)
        quantiles = {f"p{round(share * 100)}_s": self.quantile(share) for share in (0.5, 0.95, 0.99)}
        return {"count": count, "sum_s": self.sum_s, **quantiles, "max_s": self.max_s if count else None, "counts": list(self.counts)}


class _Second:
    """What happened in one second."""

    def __init__(self, number: int) -> None:
        self.number = number  # whole seconds since the stream began
        self.frames_in = 0
        self.frames_out = 0
        self.latency = Histogram()


class StreamTelemetry:
    """The counters of one stream. Every method may be called from any thread, takes microseconds and never waits for a reader.

    name: of the stream, as it stands in metrics, log lines and the preview.
    clock: seconds that never go back.
    """

    def __init__(self, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._start = self._turned = clock()
        self._seconds: deque[_Second] = deque([_Second(0)], maxlen=WINDOW_S + 1)
        self._frames = {"in": 0, "out": 0, "held": 0}
        self._latency = Histogram()
        self._dropped: dict[str, int] = {}
        self._reconnects: dict[Side, int] = {"source": 0, "sink": 0}
        self._state: dict[Side, State] = {"source": "connecting", "sink": "connecting"}
        self._since: dict[Side, float] = {"source": self._start, "sink": self._start}
        self._queue_depth = 0
        self._engine_s = 0.0
        self._model = ""
        self._scores = {"count": 0.0, "last": math.nan, "lowest": math.nan}

    def scored(self, score: float) -> None:
        """A result was scored against its source."""
        with self._lock:
            self._scores["count"] += 1
            self._scores["last"] = score
            self._scores["lowest"] = min(score, self._scores["lowest"]) if self._scores["count"] > 1 else score

    def turn(self) -> None:
        """The loop completed a pass. Call it on every pass, also without input: /healthz depends on it."""
        with self._lock:
            self._turned = self._clock()

    def frame_in(self, n: int = 1) -> None:
        """Frames were decoded from the source."""
        with self._lock:
            self._frames["in"] += n
            self._second().frames_in += n

    def frame_out(self, latency_s: float) -> None:
        """A frame was handed to the sink, `latency_s` after its packet was read from the source (glass to glass in here)."""
        latency_s = max(latency_s, 0.0)
        with self._lock:
            self._turned = self._clock()
            self._frames["out"] += 1
            self._latency.add(latency_s)
            second = self._second()
            second.frames_out += 1
            second.latency.add(latency_s)

    def frame_held(self) -> None:
        """A picture was shown again, as nothing came from the source."""
        with self._lock:
            self._frames["held"] += 1

    def dropped(self, reason: str, n: int = 1) -> None:
        """Frames will not go out; `reason` is one of a few fixed strings, such as "late" or "sink lost"."""
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + n

    def reconnected(self, side: Side) -> None:
        """A lost source or sink is connected again."""
        with self._lock:
            self._reconnects[side] += 1

    def queue_depth(self, n: int) -> None:
        """Frames that wait between source and network now."""
        with self._lock:
            self._queue_depth = n

    def engine_seconds(self, s: float) -> None:
        """Add time spent inside the engine."""
        with self._lock:
            self._engine_s += s

    def state(self, side: Side, state: State) -> None:
        """The current state of source or sink."""
        with self._lock:
            if self._state[side] != state:
                self._since[side] = self._clock()
            self._state[side] = state

    def model(self, name: str) -> None:
        """The model that runs now."""
        with self._lock:
            self._model = name

    def snapshot(self) -> dict[str, Any]:
        """Everything at this moment, ready for JSON.

        scores {count, last, lowest}: of results against their sources, None without.
        stream, model, state {side: State}, state_s {side: seconds in that state}, uptime_s, turned_s (seconds since the
        loop last went round), fps_in and fps_out (mean of the last WINDOW_S whole seconds; 0 in the first second),
        frames_in, frames_out, frames_held, dropped {reason: frames}, reconnects {side: count}, queue_depth, engine_s,
        latency (since the start) and latency_recent (of the last WINDOW_S seconds and the running one), each
        {count, sum_s, p50_s, p95_s, p99_s, max_s, counts by bucket of LATENCY_BUCKETS_S}; quantiles are None without frames.
        """
        with self._lock:
            now = self._clock()
            running = int(now - self._start)
            recent = [second for second in self._seconds if second.number >= running - WINDOW_S]
            whole = [second for second in recent if second.number < running]
            span_s = max(min(running, WINDOW_S), 1)
            latency = Histogram()
            for second in recent:
                latency.merge(second.latency)
            return {
                "stream": self.name,
                "model": self._model,
                "scores": {key: None if math.isnan(value) else value for key, value in self._scores.items()},
                "state": dict(self._state),
                "state_s": {side: now - since for side, since in self._since.items()},
                "uptime_s": now - self._start,
                "turned_s": now - self._turned,
                "fps_in": sum(second.frames_in for second in whole) / span_s,
                "fps_out": sum(second.frames_out for second in whole) / span_s,
                "frames_in": self._frames["in"],
                "frames_out": self._frames["out"],
                "frames_held": self._frames["held"],
                "dropped": dict(self._dropped),
                "reconnects": dict(self._reconnects),
                "queue_depth": self._queue_depth,
                "engine_s": self._engine_s,
                "latency": self._latency.as_dict(),
                "latency_recent": latency.as_dict(),
            }

    def _second(self) -> _Second:
        """The slot of the running second."""
        number = int(self._clock() - self._start)
        if self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]
