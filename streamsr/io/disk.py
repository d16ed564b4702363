"""Disk: the files that FFmpeg writes, opened by us: exclusively, never through a link, and with no failed write unnoticed.

FFmpeg's muxers of several files (HLS, image sequences) go on after a failed write, and what is written when a file is closed can
fail without a word. So FFmpeg writes through this, which keeps the first error.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..output_file import create_anew

BUFFER_BYTES = 1 << 18  # with FFmpeg's 32 KiB, raw video costs a third more time


class Disk:
    """Opens files for one output. `settle` closes them and raises the first error; call it after each container's close.

        disk = Disk()
        av.open(disk.open("out.mkv"), "w", format="matroska", buffer_size=BUFFER_BYTES)
        av.open("out/%05d.png", "w", io_open=disk.lend)  # where FFmpeg opens files itself
    """

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self._files: list[DiskFile] = []

    def open(self, url: str) -> DiskFile:
        """A new file. Raises OSError."""
        file = self.lend(url)
        self.check()
        return file

    def lend(self, url: str, flags: int = 0, options: object = None) -> DiskFile:
        """`open` for PyAV, which prints what is raised. After a failure nothing is written, so no list names what is not there."""
        handle: int | None = None
        path = url.removeprefix("file:")
        if self.failure is None:
            try:
                handle = create_anew(Path(path))
            except OSError as error:
                self.failure = error
        file = DiskFile(self, path, handle)
        self._files = [*(known for known in self._files if not known.is_closed), file]
        return file

    def check(self) -> None:
        """Raises the first error as OSError."""
        if self.failure is not None:
            raise OSError(self.failure.errno, self.failure.strerror, self.failure.filename)

    def settle(self) -> None:
        """Close what is open. Raises OSError where a write has failed."""
        self.close()
        self.check()

    def close(self) -> None:
        for file in self._files:
            file.close()
        self._files = []


class DiskFile:
    """What PyAV takes for a file. It never raises: PyAV prints some exceptions and drops others."""

    def __init__(self, disk: Disk, path: str, handle: int | None) -> None:
        self.name = path
        self._disk = disk
        self._handle = handle  # None: closed, or it could not be opened

    @property
    def is_closed(self) -> bool:
        return self._handle is None

    def write(self, data: Any) -> int:
        view = memoryview(data)
        if self._disk.failure is not None:
            return len(view)
        try:
            done = 0
            while done < len(view):
                done += os.write(-1 if self._handle is None else self._handle, view[done:])
        except OSError as error:
            self._fail(error)
        return len(view)

    def read(self, size: int) -> bytes:
        return b"" if self._handle is None else os.read(self._handle, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0 if self._handle is None else os.lseek(self._handle, offset, whence)

    def tell(self) -> int:
        return self.seek(0, os.SEEK_CUR)

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            try:
                os.close(handle)
            except OSError as error:  # a quota, a disk behind a network
                self._fail(error)

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def _fail(self, error: OSError) -> None:
        if self._disk.failure is None:
            error.filename = self.name
            self._disk.failure = error
