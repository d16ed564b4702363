"""Pool: workers as processes of this machine. A process that dies loses only its current segments.

These are made again, by another worker where there is one; a segment that fails three times ends the job.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..child_process import child_command
from ..device.device_selection import gpu_index, settle_codecs
from ..device.nvenc import count_segments_at_once
from ..engines import count_threads
from ..errors import EngineError, SinkError, StreamsrError
from ..output_file import no_follow
from .job_spec import CORES_EACH, Result, Spec
from .segment_failures import MAX_TRIES, SegmentFailures
from .segment_plan import Segment

_POLL_S = 0.2
_STOP_S = 30.0  # to close a segment in hand


def count_workers(wanted: int | Literal["auto"], devices: Sequence[str]) -> int:
    """How many workers "auto" means: one a GPU, or two where its encoders can take two; else one a device, or for each four cores."""
    if wanted != "auto":
        return wanted
    gpus = [gpu_index(device) for device in devices]
    if None not in gpus:
        return len(devices) * min(count_segments_at_once(gpu) for gpu in gpus if gpu is not None)
    return len(devices) if len(devices) > 1 else max(1, count_threads(0) // CORES_EACH)


def share_out(spec: Spec, number: int, num_workers: int) -> tuple[Spec, list[int]]:
    """The spec of worker `number`, and the cores it stays on: devices in turn, cores in equal parts."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    each = max(1, len(cores) // num_workers)
    own = [cores[(number * each + index) % len(cores)] for index in range(each)]
    device = spec.devices[number % len(spec.devices)]
    upscale = replace(spec.upscale, device=device, threads=spec.upscale.threads or each)
    source = replace(spec.source, threads=spec.source.threads or each)
    encode = replace(spec.encode, threads=spec.encode.threads or each)
    source, encode = settle_codecs(upscale, source, encode)
    return replace(spec, devices=(device,), upscale=upscale, source=source, encode=encode), own


@dataclass(slots=True)
class _Hand:
    """One worker and what it is at."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path
    reader: threading.Thread = field(default_factory=threading.Thread)
    segments: dict[int, Segment] = field(default_factory=dict)  # given, and not done
    num_frames: int = 0  # of segments in hand
    is_idle: bool = False
    has_begun: bool = False
    is_buried: bool = False
    stage_s: dict[str, float] = field(default_factory=dict)

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):  # dead: its reader says so
            pickle.dump(message, self.process.stdin)
            self.process.stdin.flush()


class Pool:
    """Processes that make the segments of one job. Use as a context manager."""

    def __init__(self, spec: Spec, num_workers: int) -> None:
        self.spec = spec
        self.num_workers = num_workers
        self.unfinished: list[Result] = []
        self._inbox: queue.Queue[tuple[_Hand, tuple[Any, ...] | None]] = queue.Queue()
        self._hands: dict[int, _Hand] = {}
        self._failures = SegmentFailures()
        self._failed_on: dict[int, set[int]] = {}  # workers by segment
        self._starts: Counter[int] = Counter()  # failed starts by worker

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        for hand in self._hands.values():
            hand.process.kill()
            hand.process.wait()
            hand.reader.join(timeout=1)
            if hand.process.stdin is not None:
                with suppress(OSError):
                    hand.process.stdin.close()
            if hand.process.stdout is not None and not hand.reader.is_alive():  # else another process holds the pipe
                hand.process.stdout.close()

    @property
    def num_retried(self) -> int:
        return self._failures.num_retried

    @property
    def stage_s(self) -> dict[str, float]:
        """Busy seconds by stage, summed over workers."""
        total: Counter[str] = Counter()
        for hand in self._hands.values():
            total.update(hand.stage_s)
        return dict(total)

    def run(
        self, segments: Iterable[Segment], *, stop: threading.Event | None = None, on_frames: Callable[[int], None] | None = None
    ) -> Iterator[Result]:
        """What `Worker.run` does, with all workers at once; results come in any order.

        Raises what a worker raised, and EngineError with the cause when a segment has failed three times; results that
        the other workers had ready come first.
        """
        todo = deque(segments)
        stop = stop or threading.Event()
        failure: StreamsrError | None = None
        stopping: float | None = None
        for number in range(min(self.num_workers, len(todo))):
            self._start(number)
        while True:
            hand, message = self._listen()
            if hand is not None and self._hands.get(hand.number) is not hand:
                continue  # of a process that was replaced
            if hand is not None:
                try:
                    result = self._take(hand, message, todo, is_open=failure is None and not stop.is_set())
                except StreamsrError as error:
                    failure, result = failure or error, None
                if result is not None:
                    yield result
                if on_frames is not None:
                    on_frames(sum(other.num_frames for other in self._hands.values()))
            if (stop.is_set() or failure is not None) and stopping is None:
                stopping = time.monotonic()
                for other in self._hands.values():
                    other.send("stop")
            if stopping is not None:
                waiting = [other for other in self._hands.values() if not other.is_idle]
                if not waiting or time.monotonic() - stopping > _STOP_S:
                    break
            elif not todo and not any(other.segments for other in self._hands.values()):
                break
        if failure is not None:
            raise failure

    def _listen(self) -> tuple[_Hand | None, tuple[Any, ...] | None]:
        """The next message and its sender, no sender where there is none; a dead worker's is None."""
        try:
            return self._inbox.get(timeout=_POLL_S)
        except queue.Empty:
            # a pipe need not end with its worker: what a library has forked may hold it
            dead = (hand for hand in self._hands.values() if not hand.is_buried and hand.process.poll() is not None)
            return next(dead, None), None

    def _start(self, number: int) -> None:
        spec, cores = share_out(self.spec, number, self.num_workers)
        log = Path(self.spec.folder) / f"worker{number}.log"
        try:
            words = open(log, "ab", opener=no_follow)  # noqa: SIM115 (closed below)
        except OSError as error:
            raise SinkError(f"{log} cannot be written: {error.strerror}.") from error
        with words:
            process = subprocess.Popen(
                child_command("streamsr.jobs.worker_process"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words
            )
        hand = _Hand(number, process, log)
        self._hands[number] = hand
        hand.send((spec, cores))
        hand.reader = threading.Thread(target=self._read, args=(hand,), name=f"worker{number}", daemon=True)
        hand.reader.start()

    def _read(self, hand: _Hand) -> None:
        """In a thread for each worker: its messages, then None when it has ended."""
        assert hand.process.stdout is not None
        try:
            while True:
                self._inbox.put((hand, pickle.load(hand.process.stdout)))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self._inbox.put((hand, None))

    def _take(self, hand: _Hand, message: tuple[Any, ...] | None, todo: deque[Segment], *, is_open: bool) -> Result | None:
        """Act on one message; a Result where that is what it brings."""
        if message is None:
            if not hand.is_buried:
                self._bury(hand, todo, is_open=is_open)
        elif message[0] == "done":
            result: Result = message[1]
            hand.segments.pop(result.number, None)
            hand.num_frames = max(0, hand.num_frames - result.num_upscaled)
            return result
        elif message[0] == "frames":
            hand.num_frames = message[1]
        elif message[0] == "more":
            self._give(hand, todo) if is_open else hand.send(None)
        elif message[0] == "failed":
            error: StreamsrError = message[1]
            if not isinstance(error, EngineError):
                raise error  # the input's or the disk's fault: another worker meets it too
            self._put_back(hand, todo, error.message, error.hint)
        elif message[0] == "idle":
            _, unfinished, hand.stage_s = message
            hand.has_begun = hand.is_idle = True
            hand.num_frames = 0
            hand.segments.clear()
            self.unfinished += unfinished
        if is_open:
            for other in self._hands.values():
                if other.is_idle and not other.is_buried:
                    self._give(other, todo)
        return None

    def _give(self, hand: _Hand, todo: deque[Segment]) -> None:
        """Hand out the next segment, which this worker has not failed at unless all have; None where there is none."""
        for segment in todo:
            failed = self._failed_on.get(segment.number, set())
            if hand.number not in failed or len(failed) >= len(self._hands):
                todo.remove(segment)
                hand.segments[segment.number] = segment
                hand.is_idle = False
                hand.send(segment)
                return
        if not hand.is_idle:
            hand.send(None)

    def _bury(self, hand: _Hand, todo: deque[Segment], *, is_open: bool) -> None:
        """A process has ended: put back its segments and start another."""
        code = hand.process.wait()
        hand.is_idle = hand.is_buried = True
        if not is_open:
            return
        cause = f"worker {hand.number} ended with code {code}"
        if code < 0:
            cause = f"worker {hand.number} was ended by {_signal_name(-code)}"
            cause += ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
        words = _last_line(hand.log)
        if not hand.has_begun:
            self._starts[hand.number] += 1
            if self._starts[hand.number] >= MAX_TRIES:
                raise EngineError(f"No worker could be started: {cause}{words}.", hint="see what it says with --workers 1")
        self._put_back(hand, todo, cause + words, "try fewer --workers" if code == -signal.SIGKILL else None)
        self._start(hand.number)

    def _put_back(self, hand: _Hand, todo: deque[Segment], cause: str, hint: str | None) -> None:
        """The segments in hand have failed. Raises EngineError where one did so for the last time."""
        for number, segment in sorted(hand.segments.items(), reverse=True):
            self._failed_on.setdefault(number, set()).add(hand.number)
            self._failures.add(number, cause, hint)
            todo.appendleft(segment)
        hand.segments.clear()
        hand.num_frames = 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(log: Path) -> str:
    """What a process said last, in brackets."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return f" ({lines[-1].strip()})" if lines else ""
