"""Names of files that are cut by time: a number, the time of their first picture, or both."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ..output_file import partial_name

_NUMBER = re.compile(r"(?<!%)%0?(\d+)d")


def name_file(pattern: str, number: int, at: float) -> str:
    """The name of a file.

    pattern: %05d stands for the number, with digits so that it differs from %d, the day; all else is strftime's.
    at: seconds since the epoch, shown as local time.
    """
    return time.strftime(_NUMBER.sub(lambda found: str(number).zfill(int(found[1])), pattern), time.localtime(at))


def next_number(pattern: str) -> int:
    """One more than the highest number in the folder, finished or not, so that nothing is written over and order is kept."""
    path = Path(pattern)
    if _NUMBER.search(path.name) is None or "%" in str(path.parent) or not path.parent.is_dir():
        return 0
    pieces = re.split(r"((?<!%)%0?\d+d|%.)", path.name.removesuffix(path.suffix))
    shape = "".join(_shape(piece) for piece in pieces)
    known = re.compile(rf"{shape}(-\d+)?(\.partial)?{re.escape(path.suffix)}")
    found = (known.fullmatch(entry.name) for entry in path.parent.iterdir())
    return max((int(match["number"]) + 1 for match in found if match is not None), default=0)


def free_path(pattern: str, number: int, at: float) -> Path:
    """A path of that name that is not there yet: the hour that summer time ends comes twice."""
    wanted = Path(name_file(pattern, number, at))
    path, again = wanted, 1
    while path.exists() or partial_name(path).exists():
        again += 1
        path = wanted.with_name(f"{wanted.stem}-{again}{wanted.suffix}")
    return path


def _shape(piece: str) -> str:
    if _NUMBER.fullmatch(piece):
        return r"(?P<number>\d+)"
    return ".+?" if piece.startswith("%") else re.escape(piece)
