"""The command line of this process, as `ps` shows it to everybody: its secrets are overwritten in memory.

Not by setproctitle: it hides them no earlier (what takes time is Python's start and `logging`, which both load), and replaces the
separate arguments, by which `pgrep` and supervisors find a process, with one title.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from .redaction import MASK, redact

_TOKENS = ("--preview-token", "--token")


def hide_arguments(*urls: str, token: str | None = None) -> None:
    """Overwrite the secrets of these URLs, and the token, in this process's command line, so that `ps` shows them no longer; Linux only.

    Between the start and this call they can be seen: env:NAME never shows them.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end, proc(5)
        line = Path("/proc/self/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    if start == 0 or len(line) > end - start:
        return
    secrets = [(url, redact(url)) for url in urls] + ([(token, MASK)] if token else [])
    for secret, shown in secrets:
        if shown == secret:
            continue
        old = os.fsencode(secret)
        new = os.fsencode(shown)[: len(old)].ljust(len(old), b"*")
        at = line.find(old)
        while at >= 0:
            ctypes.memmove(start + at, new, len(new))
            at = line.find(old, at + 1)


def hide_all_arguments() -> None:
    """Hide what is secret in all arguments, before anything else is loaded. What Python itself takes to start, they can be seen."""
    words = [word for argument in sys.argv[1:] for word in (argument, argument.partition("=")[2]) if "://" in word]
    hide_arguments(*words)
    for option, value in zip(sys.argv, sys.argv[1:], strict=False):
        if option in _TOKENS:
            hide_arguments(token=value)
    for argument in sys.argv:
        name, equals, value = argument.partition("=")
        if name in _TOKENS and equals:
            hide_arguments(token=value)
