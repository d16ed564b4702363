"""Reports: what --report writes, found to be possible before the run that it tells of."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import SinkError, UsageError
from .output_file import atomic_output


def check_report(path: Path | None, *, option: str = "--report") -> None:
    """Raises UsageError where a report cannot be written to `path`; None needs nothing."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UsageError(f"{option} {path}: the folder {path.parent} does not exist.", hint=f"mkdir -p {path.parent}")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder.", hint=f"give a file, such as {path / 'report.json'}")
    if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):
        raise UsageError(f"{option} {path}: no permission to write in {path.parent}.")


def write_report(path: Path, facts: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON, whole or not at all. Raises SinkError."""
    text = json.dumps(facts, indent=2, default=str) + "\n"
    try:
        if path.exists() and not path.is_file():  # a pipe or a device
            path.write_text(text)
            return
        with atomic_output(path) as draft:
            draft.write_text(text)
    except OSError as error:
        raise SinkError(f"The report {path} cannot be written: {error.strerror}.", hint="the output itself is not concerned") from error
