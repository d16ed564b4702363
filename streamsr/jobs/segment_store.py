"""Store: the work folder of a job, where segments are stored until they are joined.

A file gets its name when all of it is on the disk: written under another name, flushed, renamed, the folder flushed.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import SinkError
from ..io.remote import find_store
from ..output_file import no_follow

_SEGMENT = re.compile(r"\d{5,}-[0-9a-f]{8}(\.draft)?", re.ASCII)
_OTHERS = re.compile(r"journal\.sqlite(-journal|-wal|-shm)?|worker\d+\.log", re.ASCII)


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that every worker reaches: a path, or the URL of a store that fsspec knows."""

    url: str

    @property
    def is_remote(self) -> bool:
        return "://" in self.url

    @property
    def path(self) -> Path:
        return Path(self.url)

    def prepare(self) -> None:
        """Make the folder. Raises OSError, SinkError."""
        if not self.is_remote:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.path.is_symlink():
                raise SinkError(f"{self.path} is a symbolic link, not a work folder of streamsr.", hint=f"rm {self.path}")
            return
        store, path = find_store(self.url, SinkError)
        with _as_os_error():
            store.makedirs(path, exist_ok=True)

    def create(self, stem: str) -> Draft:
        """Begin a file; a name of its own keeps two workers that make the same segment apart."""
        name = f"{stem}-{secrets.token_hex(4)}"
        return RemoteDraft(self.url, name) if self.is_remote else Draft(self.path, name)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        if self.is_remote:
            store, path = find_store(self.url, SinkError)
            with _as_os_error(), store.open(f"{path}/{name}", "rb") as file:
                yield file
            return
        with open(self.path / name, "rb", opener=no_follow) as file:
            yield file

    def size(self, name: str) -> int | None:
        """Bytes of a file as seen from here; None where it is not."""
        try:
            if not self.is_remote:
                return (self.path / name).stat().st_size
            store, path = find_store(self.url, SinkError)
            with _as_os_error():
                store.invalidate_cache(path)
                return int(store.info(f"{path}/{name}")["size"])
        except OSError:
            return None

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
        for name in self._names():
            if _SEGMENT.fullmatch(name) and name not in keep:
                self._delete(name)

    def remove(self) -> None:
        """Delete what streamsr has written into the folder, and the folder where nothing else is in it."""
        with suppress(OSError):
            for name in self._names():
                if _SEGMENT.fullmatch(name) or _OTHERS.fullmatch(name):
                    self._delete(name)
            if not self.is_remote:
                self.path.rmdir()
                return
            store, path = find_store(self.url, SinkError)
            with _as_os_error():
                store.invalidate_cache(path)
                if store.exists(path) and not store.ls(path, detail=False):
                    store.rmdir(path)

    def _names(self) -> list[str]:
        """Of everything in the folder; none where it is a link, whose target is not streamsr's."""
        if not self.is_remote:
            return [] if self.path.is_symlink() else [path.name for path in self.path.iterdir() if path.is_symlink() or not path.is_dir()]
        store, path = find_store(self.url, SinkError)
        with _as_os_error():
            store.invalidate_cache(path)
            return [str(found).rpartition("/")[2] for found in (store.ls(path, detail=False) if store.exists(path) else ())]

    def _delete(self, name: str) -> None:
        if not self.is_remote:
            (self.path / name).unlink(missing_ok=True)
            return
        store, path = find_store(self.url, SinkError)
        with _as_os_error():
            store.rm_file(f"{path}/{name}")


class Draft:
    """A file that is being written and has no name yet."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.size = 0
        self._path = folder / f"{name}.draft"
        self._checksum = hashlib.blake2b(digest_size=16)
        self._file = self._path.open("xb", buffering=1 << 20)

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


class RemoteDraft(Draft):
    """A file in a store, which shows it when all of it is there."""

    def __init__(self, url: str, name: str) -> None:
        self.name = name
        self.size = 0
        self._checksum = hashlib.blake2b(digest_size=16)
        store, path = find_store(url, SinkError)
        with _as_os_error():
            self._remote: Any = store.open(f"{path}/{name}", "wb", autocommit=False)

    def write(self, data: bytes) -> None:
        self._checksum.update(data)
        with _as_os_error():
            self._remote.write(data)
        self.size += len(data)

    def publish(self) -> None:
        """Send the rest, then let it appear."""
        with _as_os_error():
            self._remote.close()
            self._remote.commit()

    def discard(self) -> None:
        with suppress(OSError), _as_os_error():
            self._remote.discard()
        self._remote.closed = True  # else it would be sent after all when it is collected


@contextmanager
def _as_os_error() -> Iterator[None]:
    """What the client of a store raises, as an OSError."""
    try:
        yield
    except (OSError, SinkError):
        raise
    except Exception as error:
        raise OSError(None, f"{type(error).__name__}: {error}") from error


def sync_folder(folder: Path) -> None:
    """Make names in a folder last through a power cut; where a system cannot (Windows), it does so by itself."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
