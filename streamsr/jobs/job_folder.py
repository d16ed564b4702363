"""Folder: where a job keeps its journal, OUTPUT.streamsr, and where its segments lie: there too, unless another place is given."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import nullcontext, suppress
from pathlib import Path

from ..errors import SinkError, UsageError
from .journal import NAME, Journal
from .lease import Lease
from .segment_store import Store


class ChangedJobError(UsageError):
    """An unfinished job was begun with something else; `restart` throws it away."""


def parcel_folder(target: str, work: str | None) -> str:
    """Where the segments of an output lie until they are joined; in `work`, a folder or URL for many jobs, each has a place of its own."""
    if work is None:
        return str(work_folder(target).absolute())
    own = hashlib.blake2b(str(Path(target).absolute()).encode(), digest_size=4).hexdigest()
    return f"{work.rstrip('/') if '://' in work else Path(work).absolute()}/{Path(target).name}-{own}.streamsr"


def work_folder(target: str) -> Path:
    """Where the segments of an output lie until they are joined."""
    return Path(f"{target}.streamsr")


def discard(folder: Path, reason: str, *, restart: bool) -> None:
    """Throw away the segments of a job that now runs in one piece."""
    if not restart:
        raise ChangedJobError(
            f"{folder} holds an unfinished job in segments, but this one runs in one piece: {reason}.",
            hint="--restart throws the unfinished job away; or give the options of before",
        )
    with Lease(folder, lost=threading.Event()) if (folder / NAME).exists() else nullcontext():
        pass  # nobody else is at it
    _remove(folder)


def remove_damaged(folder: Path) -> None:
    """Remove a journal that SQLite cannot read, before a job that does not need it."""
    try:
        Journal(folder).close()
    except SinkError:
        (folder / NAME).unlink(missing_ok=True)


def clear_finished(folder: Path, target: str) -> None:
    """Remove the work folder of a job that was ended between the output's name and the end of the folder."""
    if not (folder / NAME).is_file() or not Path(target).is_file():
        return
    try:
        with Journal(folder) as journal:
            joined = journal.fact("joined")
    except SinkError:
        return  # damaged: the job itself says so
    if joined is not None and not Path(joined).exists():
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the work folder, and the segments where they lie elsewhere."""
    if (folder / NAME).is_file():
        with suppress(SinkError), Journal(folder) as journal:
            place = json.loads(journal.fact("identity") or "{}").get("place of the segments")
            if place is not None:
                Store(place).remove()
    Store(str(folder)).remove()
