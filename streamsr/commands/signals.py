"""Signals: the first one ends a run in order, a second one at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence

AGAIN_S = 1.0  # `timeout`, systemd and terminals send a process group two within milliseconds: those are one
ENDS = ("SIGINT", "SIGTERM", "SIGHUP")


def stop_on_signals(names: Sequence[str] = ENDS) -> threading.Event:
    """An event that Ctrl-C, SIGTERM or a closed terminal sets; AGAIN_S later another one raises KeyboardInterrupt.

    Call it first, so that no signal ends the process while it is still loading. nohup's SIGHUP stays ignored.
    """
    stop = threading.Event()
    first = 0.0

    def handle(number: int, _: object) -> None:
        nonlocal first
        if not stop.is_set():
            first = time.monotonic()
            stop.set()
        elif time.monotonic() - first >= AGAIN_S:
            raise KeyboardInterrupt

    for name in names:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            signal.signal(number, handle)
    return stop
