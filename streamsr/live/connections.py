"""Connections to the ports that watch: few at a time, none for long, and always room for the next one.

Note [Crowds]: whoever reaches a port may open connections and send nothing. So at most `most` are held, far fewer than a process may
have descriptors; the surplus displaces the one that has been idle for the longest time, and where none is idle it is closed at once.
A connection without a whole request for IDLE_S is closed, and so is one whose answer is not taken within ANSWER_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from time import monotonic
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

try:
    import fcntl
    import resource
    import termios
except ImportError:  # Windows
    fcntl = resource = termios = None  # type: ignore[assignment]

MOST = 64
IDLE_S = 10.0  # from the connection, or the last answer, to the end of a request's head
ANSWER_S = 30.0
_BUSY_S = 6.0  # an answer takes so long at most (a picture that does not come): whoever takes longer may be displaced
_SWEEP_S = 1.0
_LOG_EVERY_S = 10.0


def most_connections() -> int:
    """How many one port holds: an eighth of the descriptors that this process may have, which the streams need too."""
    if resource is None:
        return MOST
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if limit == resource.RLIM_INFINITY else max(4, min(MOST, limit // 8))


class Crowd:
    """The connections of one port, the oldest first. Used from its event loop alone. See Note [Crowds]."""

    def __init__(self) -> None:
        self.most = most_connections()
        self._members: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._members)

    def protocol(self, **options: Any) -> Connection:
        """What uvicorn makes for each connection."""
        return Connection(self, **options)

    def enter(self, member: Connection) -> None:
        self._members[member] = None
        if len(self._members) > self.most:
            others = [other for other in self._members if other is not member]
            idle = [other for other in others if other.is_idle and not other.has_pending()]
            slow = [other for other in others if not other.is_idle and other.waited_s() > _BUSY_S]
            displaced = min(idle or slow or [member], key=lambda other: other.since)
            displaced.end()

    def leave(self, member: Connection) -> None:
        self._members.pop(member, None)

    async def sweep(self) -> None:
        """Close what takes too long, until it is cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_S)
            for member in list(self._members):
                if member.waited_s() > (IDLE_S if member.is_idle else ANSWER_S):
                    member.end()


class Connection(H11Protocol):
    """uvicorn's HTTP connection as a member of a crowd."""

    def __init__(self, crowd: Crowd, **options: Any) -> None:
        super().__init__(**options)
        self._crowd = crowd
        self.since = monotonic()  # of the state that it is in: idle, or answering

    @property
    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def has_pending(self) -> bool:
        """Whether something has come that was not read yet: who asks at once is not displaced by a burst of others behind."""
        if fcntl is None:
            return False
        try:
            answer = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.FIONREAD, b"\0" * 4)
        except (OSError, AttributeError):
            return False
        return answer != b"\0" * 4

    def waited_s(self) -> float:
        return monotonic() - self.since

    def end(self) -> None:
        """Close it where it is, with nothing left to send."""
        self._crowd.leave(self)
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._crowd.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.since = monotonic()

    def on_response_complete(self) -> None:
        self.since = monotonic()
        super().on_response_complete()


class SparseLog(logging.Filter):
    """Lets through one record in _LOG_EVERY_S, without its traceback: a flood of connections must not become one of lines."""

    def __init__(self) -> None:
        super().__init__()
        self._last = -_LOG_EVERY_S
        self._num_held = 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = monotonic()
        if now - self._last < _LOG_EVERY_S:
            self._num_held += 1
            return False
        error = record.exc_info[1] if record.exc_info else None
        words = f"{record.getMessage().splitlines()[0]}{'' if error is None else f': {error}'}"
        record.msg = words if not self._num_held else f"{words} (and {self._num_held} more of its kind)"
        record.args, record.exc_info, record.exc_text = (), None, None
        self._last, self._num_held = now, 0
        return True


@contextlib.contextmanager
def sparse_logs() -> Iterator[None]:
    """While a server runs, what asyncio and uvicorn complain of is said now and then."""
    loggers = [logging.getLogger(name) for name in ("asyncio", "uvicorn.error")]
    sparse = SparseLog()
    for logger in loggers:
        logger.addFilter(sparse)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(sparse)
