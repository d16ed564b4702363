"""Log output of a command: records of the loggers `streamsr.*` go to stderr as text or JSON, one per line.

A library user gets none of this: `import streamsr` adds no handler that writes, so records go where the application sends them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

from ..live.redaction import redact_text
from .terminal import UNSEEN, printable

ROOT = logging.getLogger("streamsr")
_STYLES = {logging.WARNING: "yellow", logging.ERROR: "red"}


class PeopleFormatter(logging.Formatter):
    """The message alone, warnings with their level; events of a stream start with the time."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(redact_text(record.getMessage()))
        if hasattr(record, "stream_event"):
            return f"{datetime.fromtimestamp(record.created):%H:%M:%S} {text}".replace("\n", " ").replace("\r", " ")
        return f"warning: {text}" if record.levelno == logging.WARNING else text


class JsonFormatter(logging.Formatter):
    """{"time", "level", "logger", "message"}; of an event of a stream {"time", "level", "event", "stream", "suppressed", "fields"}."""

    def format(self, record: logging.LogRecord) -> str:
        now = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"time": now, "level": record.levelname.lower()}
        event = getattr(record, "stream_event", None)
        line |= event if event is not None else {"logger": record.name, "message": redact_text(record.getMessage())}
        return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(line, ensure_ascii=False))


class StderrHandler(logging.Handler):
    """Writes to the stderr of the moment; to a terminal in colour. A stderr that is gone (a closed pipe) ends the log, not the run."""

    def __init__(self, *, quiet: bool = False, as_json: bool = False, file: TextIO | None = None) -> None:
        super().__init__(logging.ERROR if quiet else logging.INFO)
        self.setFormatter(JsonFormatter() if as_json else PeopleFormatter())
        self._as_json, self._file = as_json, file
        self._is_gone = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._is_gone:
            return
        file = self._file or sys.stderr
        try:
            text = self.format(record)
            if not self._as_json and file.isatty():
                _print_on_terminal(text, _STYLES.get(record.levelno))
            else:
                file.write(text + "\n")
                file.flush()
        except (OSError, ValueError):  # ValueError: the file was closed
            self._is_gone = True


def _print_on_terminal(text: str, style: str | None) -> None:
    # rich takes longer to import than --help may take; above a progress bar its console is the bar's
    from .progress import open_console

    open_console().print(text, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def log_to_stderr(*, quiet: bool = False, as_json: bool = False) -> Iterator[None]:
    """Write what streamsr logs inside the block. quiet: errors only."""
    handler, level = StderrHandler(quiet=quiet, as_json=as_json), ROOT.level
    ROOT.addHandler(handler)
    ROOT.setLevel(logging.INFO)
    try:
        yield
    finally:
        ROOT.removeHandler(handler)
        ROOT.setLevel(level)
