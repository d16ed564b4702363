"""Store: the work folder of a job, where segments lie until they are joined.

A file gets its name when all of it is on the disk: written under another name, flushed, renamed, the folder flushed.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SEGMENT = re.compile(r"\d{5,}-[0-9a-f]{8}(\.draft)?")


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that every worker reaches."""

    url: str

    @property
    def path(self) -> Path:
        return Path(self.url)

    def create(self, stem: str) -> Draft:
        """Begin a file; a name of its own keeps two workers that make the same segment apart."""
        return Draft(self.path, f"{stem}-{secrets.token_hex(4)}")

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        with (self.path / name).open("rb") as file:
            yield file

    def describe(self, name: str) -> tuple[int, str] | None:
        """(bytes, checksum) of a file; None where there is none."""
        checksum = hashlib.blake2b(digest_size=16)
        try:
            with self.open(name) as file:
                while chunk := file.read(1 << 20):
                    checksum.update(chunk)
                return file.tell(), checksum.hexdigest()
        except OSError:
            return None

    def clear(self, *, keep: Collection[str] = ()) -> None:
        """Delete all segments but those that `keep` names: what a worker was at when it ended, and what nobody needs."""
        for path in self.path.iterdir():
            if _SEGMENT.fullmatch(path.name) and path.name not in keep:
                path.unlink()

    def remove(self) -> None:
        """Delete the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


class Draft:
    """A file that is being written and has no name yet."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.size = 0
        self._path = folder / f"{name}.draft"
        self._checksum = hashlib.blake2b(digest_size=16)
        self._file = self._path.open("wb", buffering=1 << 20)

    @property
    def checksum(self) -> str:
        return self._checksum.hexdigest()

    def write(self, data: bytes) -> None:
        self._checksum.update(data)
        self.size += self._file.write(data)

    def publish(self) -> None:
        """Flush to the disk, then give the file its name."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._path, self._path.with_name(self.name))
        sync_folder(self._path.parent)

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        self._path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names in a folder last through a power cut; where a system cannot (Windows), it does so by itself."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
