"""Cover pictures in QuickTime files, where FFmpeg reads them and writes none: an iTunes list in the file's user data.

FFmpeg ends a .mov with its index (moov), so the list is put behind that and nothing else moves. Source: Apple, QuickTime File Format,
"User data atoms"; FFmpeg's mov_read_covr.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_KINDS = {"mjpeg": 13, "png": 14}  # FFmpeg's name of the codec: type of the data
_LARGEST = (1 << 32) - 1  # bytes of a box with a size of 32 bits


def add_covers(path: Path, covers: Sequence[tuple[str, bytes]]) -> bool:
    """Put pictures, as (codec, file), into a finished .mov; False where its index is not at the end, so that nothing was changed."""
    with path.open("r+b") as file:
        found = _find_last(file)
        if found is None or found[0] != b"moov":
            return False
        _, start, size = found
        file.seek(start)
        index = file.read(size)
        data = b"".join(_box(b"data", struct.pack(">II", _KINDS[codec], 0) + picture) for codec, picture in covers)
        handler = _box(b"hdlr", b"\0" * 8 + b"mdirappl" + b"\0" * 9)
        items = _box(b"meta", b"\0" * 4 + handler + _box(b"ilst", _box(b"covr", data)))
        at, length = _find_child(index, b"udta")
        if length:  # the muxer's own user data come first, and may end in a zero
            user_data = index[at + 8 : at + length]
            body = index[8:at] + index[at + length :]
            body += _box(b"udta", user_data.removesuffix(b"\0\0\0\0") + items)
        else:
            body = index[8:] + _box(b"udta", items)
        if len(body) + 8 > _LARGEST:
            return False
        file.seek(start)
        file.write(_box(b"moov", body))
    return True


def _find_last(file: BinaryIO) -> tuple[bytes, int, int] | None:
    """(name, place, size) of the last box of a file; None where the boxes do not fill it."""
    end = file.seek(0, 2)
    at, last = 0, None
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16)
        size, name = struct.unpack_from(">I4s", head)
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, 8)
        if size < 8 or at + size > end:
            return None
        last, at = (name, at, size), at + size
    return last if at == end else None


def _find_child(box: bytes, name: bytes) -> tuple[int, int]:
    """(place, size) of a box inside `box`, (0, 0) without one."""
    at = 8
    while at + 8 <= len(box):
        size, found = struct.unpack_from(">I4s", box, at)
        if found == name:
            return at, size
        at += max(size, 8)
    return 0, 0


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, name) + body
