"""Output files: one writer at a time, created exclusively, never through a link, complete or not at all.

Note [One writer]: `OutputLock` is held for as long as an output is written, whatever its kind. It is a file `.NAME.lock` beside the
output, locked with flock(2), so it is free as soon as its process is gone. Who holds the lock may delete what an earlier run left
under a partial name; `create_anew` then makes the file itself (O_EXCL), so what is written to is never a link that somebody planted.
filelock is not used, because it truncates the file that it opens, and leaves it behind.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from .errors import SinkError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be replaced anyway
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger("streamsr.output_file")
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # a file system without them
_TRIES = 20
_MAX_NAME_BYTES = 255


def partial_name(path: Path) -> Path:
    """Where an output grows: `NAME.partial.EXT`."""
    return path.with_name(fitting_name(f"{path.stem}.partial{path.suffix}"))


def fitting_name(name: str) -> str:
    """`name`, cut in its middle where it is longer than a file system's 255 bytes; what tells two such names apart stays."""
    if len(os.fsencode(name)) <= _MAX_NAME_BYTES:
        return name
    ending = "".join(Path(name[-40:]).suffixes[-2:])
    digest = hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
    room = _MAX_NAME_BYTES - len(os.fsencode(f"~{digest}{ending}"))
    return f"{os.fsencode(name)[:room].decode(errors='ignore')}~{digest}{ending}"


def no_follow(path: str, flags: int) -> int:
    """An opener for `open` that refuses symbolic links."""
    return os.open(path, flags | _NOFOLLOW, 0o666)


def create_anew(path: Path) -> int:
    """The open handle of a new file in place of what an earlier run may have left; a link goes, and what it names stays.

    The caller holds the lock of the output. Raises OSError, IsADirectoryError among them.
    """
    for _ in range(_TRIES):
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o666)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(path).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path)) from None
            path.unlink(missing_ok=True)
    raise FileExistsError(errno.EEXIST, "somebody else keeps making this file", str(path))


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A new, empty file beside `path`, with the same ending, that takes its place when the block ends well. Raises OSError."""
    draft = path.with_name(f".streamsr-{secrets.token_hex(8)}{path.suffix}")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o666))
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise


class OutputLock:
    """The only writer of an output, from the start of a `with` block to its end. See Note [One writer].

    url: a path, an image pattern, a pattern of file names, an HLS playlist. What is no file has no lock: stdout, a URL, a device.
    Raises SinkError that names the process which has it, and for a folder that cannot be written.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._path = lock_path(url)
        self._handle: int | None = None
        if self._path is not None and fcntl is not None:
            self._handle = self._take(self._path)

    def __enter__(self) -> OutputLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give it up."""
        if self._handle is None:
            return
        assert self._path is not None
        with suppress(OSError):  # the folder may have gone
            self._path.unlink()  # before it is free: who opens it now finds out that it has gone
        os.close(self._handle)
        self._handle = None

    def _take(self, path: Path) -> int:
        for _ in range(_TRIES):
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o666)
            except FileExistsError:
                self._clear(path)
                continue
            except OSError as error:
                raise self._unwritable(path, error) from error
            if _lock(handle) and _is_same(handle, path):
                with suppress(OSError):  # a full disk: it is a lock all the same
                    os.write(handle, f"{os.getpid()} {socket.gethostname()}\n".encode())
                return handle
            os.close(handle)
        raise SinkError(f"{self.url}: somebody else keeps making {path}.", hint="write to another output")

    def _clear(self, path: Path) -> None:
        """Delete the lock of a process that is gone. Raises SinkError where it is not."""
        try:
            handle = os.open(path, os.O_RDWR | _NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise SinkError(f"{path} is not a lock of streamsr.", hint=f"rm {path}") from error
            raise self._unwritable(path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SinkError(f"{path} is not a lock of streamsr.", hint=f"rm {path}")
            if not _lock(handle):
                who = re.match(rb"(\d{1,10}) ([\w.-]{1,255})\n", os.pread(handle, 300, 0), re.ASCII)
                holder = f"Process {int(who[1])} on {who[2].decode()}" if who else "Another process"
                raise SinkError(f"{holder} is working on {self.url}.", hint="wait for it, end it, or write to another output")
            if _is_same(handle, path):
                path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def _unwritable(self, path: Path, error: OSError) -> SinkError:
        if not path.parent.is_dir():
            return SinkError(f"{self.url}: the folder {path.parent} does not exist.", hint=f"mkdir -p {path.parent}")
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return SinkError(f"{self.url}: no permission to write in {path.parent}.")
        if error.errno == errno.ENOSPC:
            return SinkError(f"{self.url}: the disk is full.", hint="free some space or write elsewhere")
        return SinkError(f"{self.url}: cannot write in {path.parent}: {error.strerror}.")


def lock_path(url: str) -> Path | None:
    """The lock of an output; None for what has none. Folders that are named by the time have theirs in the fixed one above."""
    if url == "-" or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url):
        return None
    path = Path(url)
    if path.exists() and not path.is_file():
        return None
    folder = path.parent
    while "%" in str(folder):
        folder = folder.parent
    return folder / fitting_name(f".{'-'.join(path.relative_to(folder).parts)}.lock")


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _log.warning("This file system has no locks: nothing keeps two runs from writing one output.")
    return True


def _is_same(handle: int, path: Path) -> bool:
    """Whether the name still stands for the open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
