"""VoteStore: the votes of a folder in a SQLite file."""

from __future__ import annotations

import csv
import io
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from ..errors import SinkError
from ..output_file import atomic_output

FILE = "votes.sqlite"
Kind = Literal["pair", "repeat", "trap"]
RUINED = "!"  # before the name of a picture that was ruined for a trap
_TABLE = """CREATE TABLE IF NOT EXISTS votes (
    id INTEGER PRIMARY KEY, voter TEXT NOT NULL, kind TEXT NOT NULL CHECK (kind IN ('pair', 'repeat', 'trap')),
    chosen TEXT NOT NULL, other TEXT NOT NULL, side TEXT NOT NULL CHECK (side IN ('left', 'right')),
    took_ms INTEGER NOT NULL, at TEXT NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Vote:
    """One choice."""

    voter: str
    kind: Kind
    chosen: str  # file name
    other: str
    side: Literal["left", "right"]  # that the chosen one stood on
    took_ms: int


class VoteStore:
    """A context manager; its methods may be called from several threads. Raises SinkError where the file cannot be used."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute(_TABLE)
        except sqlite3.Error as error:
            raise SinkError(f"Cannot keep votes in {file}: {error}.") from error

    def __enter__(self) -> VoteStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def add(self, vote: Vote) -> None:
        """Keep a vote; it is on the disk when this returns. Raises SinkError."""
        try:
            with self._lock:
                self._connection.execute(
                    "INSERT INTO votes (voter, kind, chosen, other, side, took_ms, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*astuple(vote), datetime.now(UTC).isoformat(timespec="seconds")),
                )
        except sqlite3.Error as error:
            raise SinkError(f"Cannot keep a vote in {self.file}: {error}.") from error

    def take_back(self, voter: str) -> bool:
        """Delete the last vote of somebody; False where there is none."""
        with self._lock:
            done = self._connection.execute("DELETE FROM votes WHERE id = (SELECT max(id) FROM votes WHERE voter = ?)", (voter,))
            return done.rowcount > 0

    def votes(self) -> list[Vote]:
        """All of them, in their order. Raises SinkError for a file that holds something else."""
        names = ", ".join(field.name for field in fields(Vote))
        try:
            with self._lock:
                return [Vote(*row) for row in self._connection.execute(f"SELECT {names} FROM votes ORDER BY id")]
        except sqlite3.Error as error:
            raise SinkError(f"Cannot read the votes of {self.file}: {error}.") from error


def export_pairs(votes: Iterable[Vote], originals: dict[str, str], file: Path) -> int:
    """Write the trainer's table of pairs and return its lines: image_a,image_b,prefer_a,prefer_b,original_a,original_b. Raises SinkError.

    originals: the file name of the original of each content. Pairs whose content has none, videos among them, are left out.
    """
    counts = count_pairs(votes)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_a", "image_b", "prefer_a", "prefer_b", "original_a", "original_b"])
    num_lines = 0
    for (a, b), (prefer_a, prefer_b) in sorted(counts.items()):
        original = originals.get(a.partition("_")[0])
        if original is not None:
            writer.writerow([a, b, prefer_a, prefer_b, original, original])
            num_lines += 1
    try:
        with atomic_output(file) as draft:
            draft.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise SinkError(f"Cannot write {file}: {error.strerror}.") from error
    return num_lines


def count_pairs(votes: Iterable[Vote]) -> dict[tuple[str, str], tuple[int, int]]:
    """(a, b), in the order of names: how often either was chosen; first judgments alone."""
    counts: dict[tuple[str, str], list[int]] = {}
    for vote in votes:
        if vote.kind == "pair":
            pair = (min(vote.chosen, vote.other), max(vote.chosen, vote.other))
            counts.setdefault(pair, [0, 0])[0 if vote.chosen == pair[0] else 1] += 1
    return {pair: (a, b) for pair, (a, b) in counts.items()}


def by_voter(votes: Sequence[Vote]) -> dict[str, list[Vote]]:
    """The votes of each voter, in their order."""
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.voter, []).append(vote)
    return found
