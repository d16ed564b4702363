"""Folder: where a job keeps its journal, OUTPUT.streamsr, and where its segments are stored: there too, unless another place is given."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import SinkError, UsageError
from ..io.output_check import check_output
from ..options import SinkOptions
from ..output_file import OutputLock, fitting_name, partial_name
from .journal import COMPANIONS, NAME, Journal
from .lease import Lease
from .segment_store import Store


class ChangedJobError(UsageError):
    """An unfinished job was begun with something else; `restart` throws it away."""


def segment_folder(target: str, work: str | None) -> str:
    """Where segments of an output are stored until they are joined; in `work`, a folder or URL for many jobs, each job has its own."""
    if work is None:
        return str(work_folder(target).absolute())
    own = hashlib.blake2b(str(Path(target).absolute()).encode(), digest_size=4).hexdigest()
    return f"{work.rstrip('/') if '://' in work else Path(work).absolute()}/{Path(target).name}-{own}.streamsr"


def work_folder(target: str) -> Path:
    """Where the segments of an output are stored until they are joined."""
    path = Path(target)
    return path.with_name(fitting_name(f"{path.name}.streamsr"))


@contextmanager
def claimed(target: str, work: str | None, options: SinkOptions, *, source_url: str) -> Iterator[None]:
    """This process alone writes the output and its work folder, which are found fit for it. Raises SinkError or UsageError."""
    with OutputLock(target):
        check_folder(target, work)
        clear_finished(target, work)
        check_output(target, options, source_url=source_url)
        yield


def check_folder(target: str, work: str | None) -> None:
    """Refuse a work folder that is not this user's own, and clear one without a journal, from which nothing can go on.

    Raises SinkError for a symbolic link, and for a folder of another user where everybody may make one (/tmp).
    """
    folder = work_folder(target)
    for place in (folder, Path(segment_folder(target, work)) if work is None or "://" not in work else folder):
        if place.is_symlink():
            raise SinkError(f"{place} is a symbolic link, not a work folder of streamsr.", hint=f"rm {place}")
        if place.is_dir() and _is_planted(place):
            raise SinkError(f"{place} belongs to another user.", hint="write to a folder of your own")
    if folder.is_dir() and not (folder / NAME).is_file():
        _remove(target, work)


def discard(target: str, work: str | None, reason: str, *, restart: bool) -> None:
    """Throw away the segments of a job that now runs in one piece."""
    folder = work_folder(target)
    if not (folder / NAME).is_file():
        return  # what is left of it is not streamsr's
    if not restart:
        raise ChangedJobError(
            f"{folder} holds an unfinished job in segments, but this one runs in one piece: {reason}.",
            hint="--restart discards the unfinished job; or give the previous options",
        )
    remove_damaged(folder)
    with Lease(folder, lost=threading.Event()):
        pass  # nobody else is at it
    _remove(target, work)


def throw_away(target: str) -> None:
    """Delete all that an unfinished run of this output has left: its partial file and its segments. Raises SinkError where one is at it."""
    with OutputLock(target):
        partial_name(Path(target)).unlink(missing_ok=True)
        if (work_folder(target) / NAME).is_file():
            _remove(target, None)


def remove_damaged(folder: Path) -> None:
    """Remove a journal that cannot be used, before a job that does not need it."""
    try:
        with Journal(folder) as journal:
            journal.check()
    except SinkError:
        for name in (NAME, *COMPANIONS):
            with suppress(OSError):  # what cannot be deleted is told when the journal is opened
                (folder / name).unlink()
        Journal(folder).close()


def clear_finished(target: str, work: str | None) -> None:
    """Remove the work folder of a job that was ended between the output's name and the end of the folder."""
    folder = work_folder(target)
    if not (folder / NAME).is_file() or not Path(target).is_file():
        return
    try:
        with Journal(folder) as journal:
            is_joined = journal.is_joined()
    except SinkError:
        return  # damaged: the job itself says so
    if is_joined and not partial_name(Path(target)).exists():
        _remove(target, work)


def _remove(target: str, work: str | None) -> None:
    """Remove what streamsr has written into the work folder, and the segments where they lie elsewhere."""
    Store(segment_folder(target, work)).remove()
    Store(str(work_folder(target))).remove()


def _is_planted(folder: Path) -> bool:
    """Whether another user made this folder where everybody may make one, so that it may change at any time."""
    if not hasattr(os, "geteuid"):
        return False  # Windows has no such places
    parent = folder.parent.stat()
    return bool(parent.st_mode & stat.S_ISVTX and parent.st_mode & stat.S_IWOTH) and folder.lstat().st_uid != os.geteuid()
