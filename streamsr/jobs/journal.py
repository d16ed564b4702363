"""Journal: what a job has done, in an SQLite file of its work folder. Only what is on the disk gets in here.

One process writes it, the one that holds the lease (streamsr.jobs.lease).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import SinkError
from .job_spec import Result
from .segment_plan import Segment

NAME = "journal.sqlite"
_TABLES = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS segment (number INTEGER PRIMARY KEY, plan TEXT NOT NULL, num_frames INTEGER NOT NULL,
                                    result TEXT, pts BLOB);
CREATE TABLE IF NOT EXISTS lease (one INTEGER PRIMARY KEY CHECK (one = 1), token TEXT, pid INTEGER, host TEXT, boot TEXT,
                                  started TEXT, beat REAL);
"""


class Journal:
    """The journal of one work folder. Use as a context manager. Raises SinkError where it cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with translated(folder):
            self.db = connect(folder)
            self.db.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def fact(self, name: str) -> str | None:
        """A word about the job as a whole, None where it was not written."""
        with translated(self.folder):
            row = self.db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def state(self, **facts: str) -> None:
        """Write words about the job as a whole."""
        with translated(self.folder), self.db:
            self.db.executemany("INSERT OR REPLACE INTO fact VALUES (?, ?)", facts.items())

    def begin(self, segments: list[Segment], facts: Mapping[str, str]) -> None:
        """Start a job over: its plan and the facts that a later run has to agree with, at once."""
        with translated(self.folder), self.db:
            self.db.execute("DELETE FROM fact")
            self.db.execute("DELETE FROM segment")
            self.db.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
            self.db.executemany(
                "INSERT INTO segment (number, plan, num_frames) VALUES (?, ?, ?)",
                [(segment.number, json.dumps(asdict(segment)), segment.num_frames) for segment in segments],
            )

    def plan(self) -> list[Segment]:
        """All segments, in order."""
        with translated(self.folder):
            rows = self.db.execute("SELECT plan FROM segment ORDER BY number").fetchall()
        found = [json.loads(row[0]) for row in rows]
        return [Segment(**{**words, "keys": tuple(words["keys"])}) for words in found]

    def record(self, result: Result) -> None:
        """Name a finished segment; its file has to be on the disk."""
        assert result.complete
        words = asdict(replace(result, pts=b""))
        del words["pts"]
        with translated(self.folder), self.db:
            self.db.execute("UPDATE segment SET result = ?, pts = ? WHERE number = ?", (json.dumps(words), result.pts, result.number))

    def forget(self, number: int) -> None:
        """A segment has to be made again."""
        with translated(self.folder), self.db:
            self.db.execute("UPDATE segment SET result = NULL, pts = NULL WHERE number = ?", (number,))

    def results(self) -> dict[int, Result]:
        """The finished segments by number, in order."""
        with translated(self.folder):
            rows = self.db.execute("SELECT number, result, pts FROM segment WHERE result IS NOT NULL ORDER BY number").fetchall()
        return {number: Result(**json.loads(words), pts=bytes(pts)) for number, words, pts in rows}


def connect(folder: Path) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return."""
    db = sqlite3.connect(folder / NAME, timeout=30, check_same_thread=False)
    db.execute("PRAGMA synchronous = EXTRA")  # FULL, and the folder too
    return db


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """SQLite's errors as SinkErrors."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL":
            hint = "free some space; the same command then goes on where this one stopped"
            raise SinkError(f"{folder}: the disk is full.", hint=hint) from error
        hint = "check the disk and the permissions; --restart starts the job over"
        raise SinkError(f"{folder / NAME} cannot be used: {error}.", hint=hint) from error
