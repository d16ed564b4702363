"""Journal: what a job has done, in an SQLite file of its work folder. Only what is on the disk gets in here.

One process writes it, the one that holds the lease (streamsr.jobs.lease). What is read may have been written by anybody, see
Note [Untrusted journal] of streamsr.jobs.journal_values.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ..errors import SinkError
from .job_spec import Result
from .journal_values import (
    MAX_SEGMENTS,
    MAX_VALUE_BYTES,
    InvalidError,
    parse_identity,
    parse_lease,
    parse_result,
    parse_segments,
    parse_threads,
)
from .segment_plan import Segment

NAME = "journal.sqlite"
COMPANIONS = tuple(f"{NAME}{ending}" for ending in ("-journal", "-wal", "-shm"))  # that SQLite keeps beside it
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
            self.db = connect(folder, create=True)
            try:
                if self.db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                    self.db.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
                check_tables(self.db)
            except BaseException:
                self.db.close()
                raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.db.close()

    def identity(self) -> dict[str, str] | None:
        """The facts that a later run has to agree with; None for a job that has not begun."""
        with translated(self.folder):
            text = self._fact("identity")
            return None if text is None else parse_identity(text)

    def threads(self) -> int:
        """The number of encoder threads of the first run."""
        with translated(self.folder):
            return parse_threads(self._fact("threads"))

    def is_joined(self) -> bool:
        """Whether the segments were joined and the account balanced."""
        with translated(self.folder):
            return self._fact("joined") is not None

    def check(self) -> None:
        """Read all of it. Raises SinkError for the first value that streamsr does not write."""
        if self.identity() is None:
            return
        self.threads()
        self.plan()
        self.results()
        with translated(self.folder):
            row = self.db.execute("SELECT pid, host, boot, started, beat FROM lease").fetchone()
            if row is not None:
                parse_lease(row)

    def _fact(self, name: str) -> object:
        row = self.db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def state(self, **facts: str) -> None:
        """Write a message about the job as a whole."""
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
            rows = self.db.execute("SELECT number, plan, num_frames FROM segment ORDER BY number").fetchmany(MAX_SEGMENTS + 1)
            return parse_segments(rows)

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
            return {number: parse_result(number, words, pts) for number, words, pts in rows}


def connect(folder: Path, *, create: bool = False, read_only: bool = False) -> sqlite3.Connection:
    """A connection whose commits are on the disk when they return. Raises InvalidError, OSError, sqlite3.Error."""
    check_files(folder)
    how = "ro" if read_only else "rwc" if create else "rw"
    db = sqlite3.connect(f"{(folder / NAME).absolute().as_uri()}?mode={how}", uri=True, timeout=30, check_same_thread=False)
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        if not read_only:
            db.execute("PRAGMA synchronous = EXTRA")  # FULL, and the folder too
    except BaseException:
        db.close()
        raise
    return db


def check_files(folder: Path) -> None:
    """Check the journal's files before SQLite opens them, as it follows links and applies hot journals. Raises InvalidError, OSError.

    Note [Hot journal]: SQLite rolls back from NAME-journal when it opens a database that was left in mid-transaction. Where that
    file ends with the name of a super-journal, it then deletes the file of that name, wherever it is. streamsr writes to one
    database at a time, so it never makes such a file.
    """
    for name in (NAME, *COMPANIONS):
        try:
            facts = os.lstat(folder / name)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise InvalidError(f"{name} is not a plain file")
        if name == NAME and facts.st_size:
            with (folder / name).open("rb") as file:
                head = file.read(20)
            if head[:16] != b"SQLite format 3\0" or head[18:20] != b"\1\1":  # 2: a write-ahead log, whose index is mapped as it is
                raise InvalidError("it is not a database of streamsr")
        if name.endswith("-journal") and facts.st_size >= len(_SUPER_MAGIC):
            with (folder / name).open("rb") as file:
                file.seek(-len(_SUPER_MAGIC), os.SEEK_END)
                if file.read() == _SUPER_MAGIC:
                    raise InvalidError(f"{name} names a file to delete")


_SUPER_MAGIC = bytes.fromhex("d9d505f920a163d7")  # "The Rollback Journal" of SQLite's file format, section 3


def check_tables(db: sqlite3.Connection) -> None:
    """Views and triggers would run with each query. Raises InvalidError for what streamsr has not made."""
    words = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_TABLES)
        expected = fresh.execute(words).fetchall()
    if db.execute(words).fetchmany(len(expected) + 1) != expected:
        raise InvalidError("it has other tables")


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """SQLite's errors, and values that streamsr does not write, as SinkErrors."""
    hint = f"--restart starts the job over, and so does deleting {folder}"
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        if code == "SQLITE_FULL":
            hint = "free some space; the same command then goes on where this one stopped"
            raise SinkError(f"{folder}: the disk is full.", hint=hint) from error
        raise SinkError(f"{folder / NAME} cannot be used: {error}.", hint=f"check the disk and the permissions; {hint}") from error
    except OSError as error:
        hint = f"check the disk and the permissions; {hint}"
        raise SinkError(f"{folder / NAME} cannot be used: {error.strerror or error}.", hint=hint) from error
    except InvalidError as error:
        raise SinkError(f"{folder / NAME} cannot be used: {error}.", hint=hint) from error
