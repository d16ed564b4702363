"""Listing: the unfinished jobs of a folder, read without touching them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .journal import NAME
from .lease import read_holder


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A job that has not become its output yet."""

    folder: str
    output: str
    input: str
    num_segments: int
    num_done: int  # segments
    num_frames: int
    num_frames_done: int
    bytes_done: int
    running: str | None  # process and machine that work on it now
    trouble: str | None = None  # why its journal cannot be read


def list_jobs(folder: Path) -> list[Unfinished]:
    """The jobs whose work folders lie in `folder`, by name."""
    return [_read(path.parent) for path in sorted(folder.glob(f"*.streamsr/{NAME}"))]


def _read(folder: Path) -> Unfinished:
    output = str(folder)[: -len(".streamsr")]
    try:
        with closing(sqlite3.connect(f"{(folder / NAME).absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            facts = dict(db.execute("SELECT name, value FROM fact").fetchall())
            rows = db.execute("SELECT num_frames, result FROM segment").fetchall()
            held = read_holder(db)
    except sqlite3.Error as error:
        return Unfinished(str(folder), output, "", 0, 0, 0, 0, 0, None, str(error))
    done = [(num_frames, json.loads(result)) for num_frames, result in rows if result is not None]
    return Unfinished(
        str(folder), output, json.loads(facts.get("identity", "{}")).get("input", ""), len(rows), len(done),
        sum(num_frames for num_frames, _ in rows), sum(num_frames for num_frames, _ in done), sum(result["size"] for _, result in done),
        None if held is None else f"process {held[0].pid} on {held[0].host}",
    )  # fmt: skip
