"""What happened to a stream: events with fields, as records of the logger `streamsr.live.events`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ..errors import StreamsrError
from .redaction import redact, redact_text

Level = Literal["info", "warning", "error"]
EVERY_S = 1.0  # at most one record an event in this time
_LEVELS: dict[Level, int] = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class EventLog:
    """Logs events of one stream, at most one a second of each; suppressed events are counted in the next record of the same kind.

    stream: name of the stream, in each record.
    urls: in use by the stream. No secret of these or of any other URL in a field gets out (streamsr.live.redaction).
    The record's `stream_event` is {event, stream, suppressed, fields}; its message is the same as text.

        log = EventLog("cam", urls=[source, sink])
        log.event("source lost", level="warning", reason=str(error), attempt=2)
        12:04:31 cam: source lost (reason: Connection refused, attempt: 2)

    An event is one of a few fixed names, never a text with values in it: those are fields.
    """

    def __init__(self, stream: str, *, urls: Sequence[str] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self.stream = redact_text(stream)
        self._logger = logging.getLogger("streamsr.live.events")
        self._urls = tuple(urls)
        self._clock = clock
        self._lock = threading.Lock()
        self._events: dict[str, _Event] = {}

    def event(self, name: str, /, *, level: Level = "info", **fields: Any) -> None:
        """Log the event, or count it where one of its name was logged less than a second ago. Call it from any thread."""
        with self._lock:
            event = self._events.setdefault(name, _Event())
            event.latest = (level, fields)
            event.num_held += 1
            self._write_due(self._clock())

    def failure(self, error: StreamsrError) -> None:
        """Log what a stream, or the process, ended with."""
        self.event("ended", level="error", exit_code=error.exit_code, reason=error.message, hint=error.hint)

    def tick(self) -> None:
        """Log events suppressed a second ago or more, so that the end of a burst does not wait for the next one."""
        with self._lock:
            self._write_due(self._clock())

    def close(self) -> None:
        """Log whatever is still held back."""
        with self._lock:
            self._write_due(float("inf"))

    def _write_due(self, now: float) -> None:
        for name, event in self._events.items():
            if event.num_held and now - event.written >= EVERY_S:
                level, fields = event.latest
                self._write(name, level, fields, event.num_held - 1)
                event.num_held, event.written = 0, now

    def _write(self, name: str, level: Level, fields: dict[str, Any], num_suppressed: int) -> None:
        safe = {key: self._redact(value) for key, value in fields.items()}
        # a line says the URL once: the stream's name often is one, and messages begin with one
        known = {self.stream, *(redact(url) for url in self._urls)}
        safe = {key: _without_prefix(value, known) for key, value in safe.items()}
        words = [f"{key.replace('_', ' ')}: {value}" for key, value in safe.items() if value != self.stream and value is not None]
        words += [f"and {num_suppressed} more since the last line"] if num_suppressed else []
        mark = "" if level == "info" else f"{level}: "
        text = f"{self.stream}: {mark}{name}" + (f" ({', '.join(words)})" if words else "")
        event = {"event": name, "stream": self.stream, "suppressed": num_suppressed, "fields": safe}
        self._logger.log(_LEVELS[level], "%s", text, extra={"stream_event": event})

    def _redact(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): self._redact(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._redact(item) for item in value]
        if value is None or isinstance(value, (bool, int)):
            return value
        if isinstance(value, float):
            return round(value, 4) if abs(value) != float("inf") and value == value else str(value)
        return redact_text(str(value), *self._urls)


def _without_prefix(value: Any, known: set[str]) -> Any:
    """A message without the URL that it begins with."""
    prefix = next((name for name in known if isinstance(value, str) and value.startswith(f"{name}: ")), None)
    return value if prefix is None else value[len(prefix) + 2 :]


class _Event:
    """What is known of one kind of event."""

    def __init__(self) -> None:
        self.written = -float("inf")
        self.num_held = 0
        self.latest: tuple[Level, dict[str, Any]] = ("info", {})
