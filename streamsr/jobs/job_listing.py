"""Listing: the unfinished jobs of a folder, read without touching them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import SinkError
from .journal import NAME, check_tables, connect, translated
from .journal_values import parse_identity, parse_result, parse_segments
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
    """The jobs whose work folders are in `folder`, by name."""
    return [_read(path) for path in sorted(folder.glob("*.streamsr")) if path.is_dir() and not path.is_symlink()]


def _read(folder: Path) -> Unfinished:
    output = str(folder)[: -len(".streamsr")]
    if not (folder / NAME).exists():
        return Unfinished(str(folder), output, "", 0, 0, 0, 0, 0, None, "it has no journal, so the next run starts over")
    try:
        with translated(folder), closing(connect(folder, read_only=True)) as db:
            check_tables(db)
            row = db.execute("SELECT value FROM fact WHERE name = 'identity'").fetchone()
            source = parse_identity(row[0]).get("input", "") if row else ""
            segments = parse_segments(db.execute("SELECT number, plan, num_frames FROM segment ORDER BY number")) if row else []
            rows = db.execute("SELECT number, result, pts FROM segment WHERE result IS NOT NULL")
            done = [parse_result(number, text, pts) for number, text, pts in rows]
            held = read_holder(db)
    except SinkError as error:
        return Unfinished(str(folder), output, "", 0, 0, 0, 0, 0, None, str(error.__cause__ or error.message))
    finished = {result.number for result in done}
    return Unfinished(
        str(folder), output, source, len(segments), len(done), sum(segment.num_frames for segment in segments),
        sum(segment.num_frames for segment in segments if segment.number in finished), sum(result.size for result in done),
        None if held is None else f"process {held[0].pid} on {held[0].host}",
    )  # fmt: skip
