"""What happened to a stream, a line an event on stderr: for people, or as JSON for machines."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from ..errors import StreamsrError
from .redaction import redact_text

Level = Literal["info", "warning", "error"]
_writing = threading.Lock()  # print writes a line and its end apart, and the streams of a process log side by side
EVERY_S = 1.0  # at most one line an event in this time


class EventLog:
    """Writes events of one stream, at most one line a second of each; what was held back is counted in the next line of its kind.

    stream: name of the stream, in each line.
    as_json: one JSON object a line, {time, level, event, stream, suppressed, fields}, instead of a line for people.
    urls: in use by the stream. No secret of these or of any other URL in a field gets out (streamsr.live.redaction).
    quiet: errors only.
    file: where to; stderr when None. A file that is gone (a closed pipe) ends the log, not the stream.

        log = EventLog("cam", urls=[source, sink])
        log.event("source lost", level="warning", reason=str(error), attempt=2)
        12:04:31 cam: source lost (reason: Connection refused, attempt: 2)

    An event is one of a few fixed names, never a text with values in it: those are fields.
    """

    def __init__(
        self, stream: str, *, as_json: bool = False, urls: Sequence[str] = (), quiet: bool = False, file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.stream = redact_text(stream)
        self._as_json = as_json
        self._urls = tuple(urls)
        self._quiet = quiet
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._events: dict[str, _Event] = {}

    def event(self, name: str, /, *, level: Level = "info", **fields: Any) -> None:
        """Write the event, or count it where one of its name was written less than a second ago. Call it from any thread."""
        if self._quiet and level != "error":
            return
        with self._lock:
            event = self._events.setdefault(name, _Event())
            event.latest = (level, fields)
            event.num_held += 1
            self._write_due(self._clock())

    def failure(self, error: StreamsrError) -> None:
        """Write what a stream, or the process, ended with."""
        self.event("ended", level="error", exit_code=error.exit_code, reason=error.message, hint=error.hint)

    def tick(self) -> None:
        """Write what was held back a second ago and more, so that the last words of a burst do not wait for the next one."""
        with self._lock:
            self._write_due(self._clock())

    def close(self) -> None:
        """Write whatever is still held back."""
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
        if self._as_json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            line: dict[str, Any] = {"time": now, "level": level, "event": name, "stream": self.stream}
            text = json.dumps(line | {"suppressed": num_suppressed, "fields": safe}, ensure_ascii=False)
        else:
            words = [f"{key.replace('_', ' ')}: {value}" for key, value in safe.items()]
            words += [f"and {num_suppressed} more since the last line"] if num_suppressed else []
            mark = "" if level == "info" else f"{level}: "
            text = f"{time.strftime('%H:%M:%S')} {self.stream}: {mark}{name}" + (f" ({', '.join(words)})" if words else "")
            text = text.replace("\n", " ").replace("\r", " ")
        try:
            with _writing:
                print(text, file=self._file or sys.stderr, flush=True)
        except (OSError, ValueError):  # ValueError: the file was closed
            self._quiet = True

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


class _Event:
    """What is known of one kind of event."""

    def __init__(self) -> None:
        self.written = -float("inf")
        self.num_held = 0
        self.latest: tuple[Level, dict[str, Any]] = ("info", {})
