"""Lease: one process at a time works on a job. A row in the journal names it and shows that it is alive.

A lease is given up at the end, and is free for others when its process is gone: known at once on the machine itself (no
such process, another process of that number, or the machine has started anew), else when it has said nothing for LEASE_S.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import SinkError
from .journal import connect, translated
from .journal_values import InvalidError, parse_lease

BEAT_S = 10.0
LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class Holder:
    """A process as others can tell it from all others."""

    pid: int
    host: str
    boot: str  # which start of the machine
    started: str  # when the process began, in the system's own words; "" where it does not tell

    @classmethod
    def me(cls) -> Holder:
        return cls(os.getpid(), socket.gethostname(), _boot(), _started(os.getpid()) or "")

    @classmethod
    def of(cls, row: Sequence[object]) -> tuple[Holder, float]:
        """The process in a row of the journal, and the seconds since its last sign of life. Raises InvalidError."""
        pid, host, boot, started, beat = parse_lease(row)
        return cls(pid, host, boot, started), time.time() - beat

    def is_gone(self, silent_s: float) -> bool:
        """Whether this process cannot come back to its job; `silent_s`: seconds since it last said that it lives."""
        here = Holder.me()
        if self.host != here.host or not here.boot or not here.started:
            return silent_s > LEASE_S
        if self.boot != here.boot:
            return True
        return _started(self.pid) != self.started


class Lease:
    """Held from the start of a `with` block to its end. Raises SinkError where another process holds it."""

    def __init__(self, folder: Path, *, lost: threading.Event) -> None:
        self.folder = folder
        self.lost = lost  # set when another process took the lease, because this one seemed gone
        self._token = secrets.token_hex(8)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="streamsr-lease", daemon=True)

    def __enter__(self) -> Lease:
        with translated(self.folder), closing(connect(self.folder)) as db:
            db.isolation_level = None
            db.execute("BEGIN IMMEDIATE")  # nobody else reads or writes the lease until COMMIT
            row = db.execute("SELECT pid, host, boot, started, beat FROM lease").fetchone()
            if row is not None:
                holder, silent_s = Holder.of(row)
                if not holder.is_gone(silent_s):
                    db.execute("ROLLBACK")
                    raise SinkError(
                        f"Process {holder.pid} on {holder.host} is working on {self.folder} (seen {max(silent_s, 0):.0f} s ago).",
                        hint="wait for it, end it, or write to another output",
                    )
            me = Holder.me()
            db.execute(
                "INSERT OR REPLACE INTO lease VALUES (1, ?, ?, ?, ?, ?, ?)",
                (self._token, me.pid, me.host, me.boot, me.started, time.time()),
            )
            db.execute("COMMIT")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if (self.folder).is_dir():
            with suppress(sqlite3.Error, OSError, InvalidError), closing(connect(self.folder)) as db, db:
                db.execute("DELETE FROM lease WHERE token = ?", (self._token,))

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                with closing(connect(self.folder)) as db, db:
                    held = db.execute("UPDATE lease SET beat = ? WHERE token = ?", (time.time(), self._token)).rowcount
            except (sqlite3.Error, OSError, InvalidError):
                continue  # a full disk: others wait LEASE_S before they take over
            if not held:
                self.lost.set()
                return


def read_holder(db: sqlite3.Connection) -> tuple[Holder, float] | None:
    """Who works on a job, and the seconds since its last sign of life; None where nobody does. Raises InvalidError."""
    row = db.execute("SELECT pid, host, boot, started, beat FROM lease").fetchone()
    if row is None:
        return None
    holder, silent_s = Holder.of(row)
    return None if holder.is_gone(silent_s) else (holder, silent_s)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """The start time of a process in clock ticks since boot; None where there is no such process, or nobody tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # proc(5): field 22; a zombie has ended
