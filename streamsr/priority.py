"""Threads keep their priority, even if a library that they call changes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TASKS = Path("/proc/self/task")  # the threads of this process


@contextmanager
def keep_priority() -> Iterator[None]:
    """Give this thread, and those that start meanwhile, the scheduling policy back that this thread has now.

    SVT-AV1, opened by root (as in most containers), makes itself and the thread that opens it real-time threads of the highest
    priority (SCHED_FIFO, 99), and leaves that thread so. Every thread and process that it starts later is one, too: where two
    of them wait by spinning, two cores do nothing else any more.
    """
    if not hasattr(os, "sched_setscheduler") or not _TASKS.is_dir():  # Linux has them, and SVT-AV1 does it there alone
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = set(os.listdir(_TASKS))
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            for thread in (0, *map(int, set(os.listdir(_TASKS)) - before)):
                with suppress(ProcessLookupError):  # it has ended
                    os.sched_setscheduler(thread, policy, parameters)
