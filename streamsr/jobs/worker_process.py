"""Child: the process of one worker, started by streamsr.child_process. streamsr.jobs.worker_pool controls it through stdin and stdout.

Messages are pickles. In: the Spec and the processor cores to stay on, then Segments as they are asked for, None for "no
more for now", "stop". Out: ("more",) to ask for a segment while the last one is being made, ("frames", n) for those of
segments in hand, ("done", Result), ("idle", unfinished Results, seconds by stage), ("failed", error). When stdin ends, the
parent is gone, and so is this process, at once.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .segment_plan import Segment

_REPORT_S = 0.2


class _Parent:
    """The other end of the pipes."""

    def __init__(self) -> None:
        # pipes of its own: libraries print, and a fork by one of them (OpenVINO's telemetry) would close stdin and hang
        self._in, self._out = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.dup2(2, 1)
        self._sending = threading.Lock()
        self.stop = threading.Event()
        self.inbox: queue.Queue[Any] = queue.Queue()

    def receive(self) -> Any:
        return pickle.load(self._in)

    def read(self) -> None:
        """In a thread of its own."""
        try:
            while True:
                message = self.receive()
                if message == "stop":
                    self.stop.set()
                self.inbox.put(None if message == "stop" else message)
        except (EOFError, OSError):
            os._exit(1)

    def send(self, *message: Any) -> None:
        with self._sending:
            pickle.dump(message, self._out)
            self._out.flush()

    def segments(self, first: Segment) -> Iterator[Segment]:
        """`first`, and one more each time, until there is none for now."""
        yield first
        while not self.stop.is_set():
            self.send("more")
            segment = self.inbox.get()
            if segment is None:
                return
            yield segment


def main() -> None:
    """Make segments until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all: the parent says what to do
    parent = _Parent()
    spec, cores = parent.receive()
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before any library counts the cores
    from ..errors import StreamsrError
    from .worker import Worker, seldom

    threading.Thread(target=parent.read, name="parent", daemon=True).start()
    tell = seldom(lambda num_frames: parent.send("frames", num_frames), _REPORT_S)
    with Worker(spec) as worker:
        parent.send("idle", [], {})
        while True:
            first = parent.inbox.get()
            if first is not None:
                try:
                    for result in worker.run(parent.segments(first), stop=parent.stop, on_frames=tell):
                        parent.send("done", result)
                except StreamsrError as error:
                    parent.send("failed", error)
            parent.send("idle", worker.unfinished, worker.stage_s)


if __name__ == "__main__":
    main()
