"""Connection: to a Ray cluster, or a clear error within half a minute."""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import EngineError, UsageError
from ..io.remote import PIP

CONNECT_S = 30.0


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a Ray cluster for a while: "auto" (the one of this machine, or RAY_ADDRESS) or ray://HOST:PORT.

    Raises UsageError for another address; EngineError without Ray, and if the cluster does not answer within CONNECT_S.
    """
    if address != "auto" and not address.startswith("ray://"):
        raise UsageError(f"--cluster {address!r} is neither auto nor ray://HOST:PORT.", hint="such as --cluster ray://10.0.0.1:10001")
    if importlib.util.find_spec("ray") is None:
        raise EngineError("--cluster needs Ray, which is not installed.", hint=PIP)
    import ray

    if ray.is_initialized():
        yield  # a batch, or the caller's own
        return
    _knock(address)
    _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """See whether anybody listens, where the address is known: Ray itself would try for minutes."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not host or not port.isdigit():
        if address.startswith("ray://"):
            raise UsageError(f"--cluster {address} has no port.", hint="such as ray://10.0.0.1:10001")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S / 3).close()
    except OSError as error:
        raise _unreachable(address, error.strerror or str(error)) from error


def _connect(address: str) -> None:
    """ray.init in a thread: it has no timeout, and in the main thread it would take SIGTERM for itself."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports usage to its makers unless told otherwise
    import ray

    answer: queue.Queue[BaseException | None] = queue.Queue()

    def connect() -> None:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
            answer.put(None)
        except BaseException as error:  # handed over
            answer.put(error)

    logging.getLogger("ray").setLevel(logging.ERROR)
    threading.Thread(target=connect, name="streamsr-cluster", daemon=True).start()
    try:
        failure = answer.get(timeout=CONNECT_S)
    except queue.Empty:
        raise _unreachable(address, f"no answer within {CONNECT_S:.0f} s") from None
    if failure is not None:
        raise _unreachable(address, first_line(failure)) from failure


def _unreachable(address: str, reason: str) -> EngineError:
    hint = "start one with `ray start --head --ray-client-server-port 10001`, as docs/cluster.md says"
    return EngineError(f"No Ray cluster can be reached at {address}: {reason.rstrip('.')}.", hint=hint)


def first_line(error: BaseException) -> str:
    """The beginning of an error's text, or its type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
