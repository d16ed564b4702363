"""TIFF tags: EXIF and an ICC profile into a TIFF file, which FFmpeg's encoder leaves out. TIFF 6.0 section 2, EXIF 2.32 section 4.6."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 1, 7: 1, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}  # bytes of a number, by type
_FRACTIONS = (5, 10)
_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS, interoperability: their values are places
_ICC = 34675
# what a file says of how its own samples are stored, and its profile, which is written apart
_STRUCTURE = {*range(254, 260), 262, 263, 266, 273, *range(277, 280), 284, 297, 301, *range(317, 326), 330, 332, *range(337, 348), 512, 513,
              514, *range(529, 533), _ICC}  # fmt: skip
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    data: bytes  # little-endian
    inside: dict[int, _Entry] | None = None  # of a directory


def with_tags(tiff: bytes, *, exif: bytes, icc: bytes) -> bytes:
    """A TIFF file as FFmpeg writes it (little-endian, one directory) with a profile and the EXIF tags unrelated to its structure."""
    assert tiff[:4] == b"II*\0", "FFmpeg writes TIFF in another byte order now"
    (at,) = struct.unpack_from("<I", tiff, 4)
    own = _read_directory(tiff, at, "<")
    words = _read_directory(exif, struct.unpack_from(_order(exif) + "I", exif, 4)[0], _order(exif)) if exif else {}
    entries = {tag: entry for tag, entry in words.items() if tag not in _STRUCTURE} | own
    if icc:
        entries[_ICC] = _Entry(7, len(icc), icc)
    padding = b"\0" * (len(tiff) % 2)
    start = len(tiff) + len(padding)
    return tiff[:4] + struct.pack("<I", start) + tiff[8:] + padding + _write_directory(entries, start)


def _order(exif: bytes) -> str:
    return ">" if exif[:2] == b"MM" else "<"


def _read_directory(data: bytes, at: int, order: str, depth: int = 0) -> dict[int, _Entry]:
    """Tag -> entry. What is damaged is left out."""
    entries: dict[int, _Entry] = {}
    if at + 2 > len(data):
        return entries
    (count,) = struct.unpack_from(order + "H", data, at)
    for place in range(at + 2, min(at + 2 + 12 * count, len(data) - 11), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, place)
        size = _SIZES.get(kind, 0) * number * (2 if kind in _FRACTIONS else 1)
        (where,) = struct.unpack_from(order + "I", data, place + 8)
        start = place + 8 if size <= 4 else where
        if not size or start + size > len(data):
            continue
        if tag in _DIRECTORIES and kind in (4, 13):
            inside = _read_directory(data, where, order, depth + 1) if depth < _MAX_DEPTH else {}
            if inside:
                entries[tag] = _Entry(4, 1, b"", inside)
            continue
        entries[tag] = _Entry(kind, number, _little(data[start : start + size], _SIZES[kind], order))
    return entries


def _little(data: bytes, size: int, order: str) -> bytes:
    """Numbers of `size` bytes each, in little-endian order."""
    if order == "<" or size == 1:
        return data
    return b"".join(data[at : at + size][::-1] for at in range(0, len(data), size))


def _write_directory(entries: dict[int, _Entry], start: int) -> bytes:
    """A directory that begins at byte `start` of its file, with all that belongs to it behind it."""
    heads, behind = [], b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, entry in sorted(entries.items()):
        data = entry.data
        if entry.inside is not None:
            data = _write_directory(entry.inside, place + len(behind))
            head = struct.pack("<HHII", tag, 4, 1, place + len(behind))
            behind += data + b"\0" * (len(data) % 2)
        elif len(data) <= 4:
            head = struct.pack("<HHI", tag, entry.kind, entry.count) + data.ljust(4, b"\0")
        else:
            head = struct.pack("<HHII", tag, entry.kind, entry.count, place + len(behind))
            behind += data + b"\0" * (len(data) % 2)
        heads.append(head)
    return struct.pack("<H", len(heads)) + b"".join(heads) + b"\0\0\0\0" + behind
