"""A folder of training files: photographs and videos, listed on disk, so that a hundred thousand of them cost no memory."""

import os
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import overload

from streamsr.output_file import atomic_output
from trainer.data.photos import SUFFIXES as PHOTO_SUFFIXES
from trainer.data.photos import is_validation
from trainer.evaluation.eval_clips import SUFFIXES as VIDEO_SUFFIXES
from trainer.trainer_error import TrainerError


class Listing(Sequence[pathlib.Path]):
    """Files of a folder in the order of their names. An item is looked up in a database when it is asked for."""

    def __init__(self, folder: pathlib.Path, index: pathlib.Path, part: str) -> None:
        self.folder, self.part = folder, part
        self._database = sqlite3.connect(f"file:{index}?mode=ro&immutable=1", uri=True)
        (self._length,) = self._database.execute(f"SELECT count(*) FROM {part}").fetchone()

    def __len__(self) -> int:
        return int(self._length)

    @overload
    def __getitem__(self, index: int) -> pathlib.Path: ...
    @overload
    def __getitem__(self, index: slice) -> list[pathlib.Path]: ...
    def __getitem__(self, index: int | slice) -> pathlib.Path | list[pathlib.Path]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        (name,) = self._database.execute(f"SELECT name FROM {self.part} WHERE rowid = ?", (index % len(self) + 1,)).fetchone()
        return self.folder / name

    def __iter__(self) -> Iterator[pathlib.Path]:
        for (name,) in self._database.execute(f"SELECT name FROM {self.part} ORDER BY rowid"):
            yield self.folder / name


def open_folder(folder: pathlib.Path, index: pathlib.Path) -> tuple[Listing, Listing]:
    """(training, validation): the photographs and videos directly in `folder`, split by a hash of their names, never mixed.

    index: file for the listing, written anew. Raises TrainerError when the folder is missing, or either part is empty.
    """
    if not folder.is_dir():
        raise TrainerError(f"The data folder {str(folder)!r} does not exist. Give --data a folder of photographs or videos.")
    index.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(index) as draft, closing(sqlite3.connect(draft)) as database, database:
        database.execute("CREATE TABLE file (name TEXT PRIMARY KEY, validation INTEGER) WITHOUT ROWID")
        database.executemany("INSERT INTO file VALUES (?, ?)", _scan(folder))
        for part, flag in (("training", 0), ("validation", 1)):
            database.execute(f"CREATE TABLE {part} (name TEXT)")
            database.execute(f"INSERT INTO {part} SELECT name FROM file WHERE validation = ? ORDER BY name", (flag,))
        database.execute("DROP TABLE file")
    training, validation = Listing(folder, index, "training"), Listing(folder, index, "validation")
    if not training and not validation:
        known = ", ".join(sorted(PHOTO_SUFFIXES | VIDEO_SUFFIXES))
        raise TrainerError(f"The data folder {str(folder)!r} holds no photograph or video ({known}).")
    if not training or not validation:
        raise TrainerError(
            f"{str(folder)!r} splits into {len(training)} training and {len(validation)} validation files; both need at least one. "
            "Add some (about 6 in 100 go to validation)."
        )
    return training, validation


def _scan(folder: pathlib.Path) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in PHOTO_SUFFIXES or suffix in VIDEO_SUFFIXES:
                yield entry.name, int(is_validation(pathlib.Path(entry.name)))
