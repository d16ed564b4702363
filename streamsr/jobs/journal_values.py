"""Validation: a journal may come from anywhere, so every value read from one is checked before it is used.

Note [Untrusted journal]: a work folder is beside the output, where others may be able to write. Nothing in it names a file
to delete or a place to write to: both are derived from the command. What is read here only decides which segments are made again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from .job_spec import Result
from .segment_plan import Segment

MAX_SEGMENTS = 1_000_000
MAX_KINDS = 64  # of side data
MAX_VALUE_BYTES = 256 << 20  # of one value: the times of a segment of 30 million frames
_TICKS = 1 << 62
_MAX_KEYS = 8
_MAX_PID = 1 << 32
_FUTURE_S = 3600.0  # how far clocks of two machines may lie apart


class InvalidError(ValueError):
    """A value of a journal that streamsr does not write."""


def parse_json(text: object, what: str) -> Any:
    """A JSON value of a text. Raises InvalidError."""
    if not isinstance(text, str):
        raise InvalidError(f"{what} is not text")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidError(f"{what} is not JSON") from None


def parse_identity(text: object) -> dict[str, str]:
    """The facts that a later run has to agree with. Raises InvalidError."""
    found = parse_json(text, "its identity")
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidError("its identity is not an object of strings")
    return found


def parse_threads(text: object) -> int:
    """The number of encoder threads. Raises InvalidError."""
    if not isinstance(text, str) or not re.fullmatch(r"\d{1,4}", text, re.ASCII):
        raise InvalidError("its number of threads is not a number")
    return int(text)


def parse_segments(rows: Iterable[Sequence[object]]) -> list[Segment]:
    """The plan from rows of (number, plan, num_frames), ordered by number. Raises InvalidError."""
    segments: list[Segment] = []
    for index, (number, text, num_frames) in enumerate(rows):
        if index >= MAX_SEGMENTS:
            raise InvalidError(f"it has more than {MAX_SEGMENTS} segments")
        found = _entries(text, Segment, f"the plan of segment {index}")
        keys = found.pop("keys")
        end = found.pop("end")
        values = {name: _integer(value, f"{name} of segment {index}") for name, value in found.items()}
        if not isinstance(keys, list) or len(keys) > _MAX_KEYS:
            raise InvalidError(f"the key frames of segment {index} are not a short list")
        segment = Segment(
            **values, end=None if end is None else _integer(end, f"end of segment {index}"),
            keys=tuple(_integer(key, f"a key frame of segment {index}") for key in keys),
        )  # fmt: skip
        if (segment.number, segment.num_frames) != (number, num_frames) or number != index:
            raise InvalidError(f"segment {index} does not have the number and frames of its row")
        if segment.num_frames < 1 or segment.first > segment.last or segment.warm > segment.first:
            raise InvalidError(f"segment {index} has impossible times")
        if segments and segments[-1].end != segment.first:
            raise InvalidError(f"segment {index} does not follow on segment {index - 1}")
        segments.append(segment)
    if not segments or segments[-1].end is not None:
        raise InvalidError("its plan does not reach the end of the video")
    return segments


def parse_result(number: object, text: object, pts: object) -> Result:
    """A finished segment from its row. Raises InvalidError."""
    what = f"the result of segment {number}"
    found = _entries(text, Result, what, without=("pts",))
    if not isinstance(pts, bytes) or len(pts) % 8 or len(pts) > MAX_VALUE_BYTES:
        raise InvalidError(f"the times of segment {number} are damaged")
    if not isinstance(found["kinds"], list) or len(found["kinds"]) > MAX_KINDS:
        raise InvalidError(f"kinds in {what} is {_shown(found['kinds'])}")
    kinds = tuple(_integer(value, f"a kind of side data in {what}", least=0) for value in found.pop("kinds"))
    for name, value in found.items():
        kind = _KINDS[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InvalidError(f"{name} in {what} is {_shown(value)}")
        if kind is int:
            _integer(value, f"{name} in {what}", least=0)
    name = found["name"]
    if name is not None and not (isinstance(name, str) and re.fullmatch(rf"{found['number']:05}-[0-9a-f]{{8}}", name, re.ASCII)):
        raise InvalidError(f"the file of segment {number} is {_shown(name)}")
    for key, shape in (("checksum", r"([0-9a-f]{32})?"), ("parameters", r"([0-9a-f]{2})*")):
        if not re.fullmatch(shape, found[key], re.ASCII):
            raise InvalidError(f"{key} in {what} is damaged")
    result = Result(**found, pts=pts, kinds=kinds)
    times = np.frombuffer(pts, np.int64)
    if result.number != number or not result.complete or result.num_upscaled != len(times) or (np.diff(times) <= 0).any():
        raise InvalidError(f"{what} contradicts itself")
    return result


def parse_lease(row: Sequence[object]) -> tuple[int, str, str, str, float]:
    """(pid, host, boot, started, time of the last beat) of the process that works on a job. Raises InvalidError."""
    pid, host, boot, started, beat = row
    if not isinstance(pid, int) or not 0 < pid <= _MAX_PID or not isinstance(beat, float) or not 0 <= beat <= time.time() + _FUTURE_S:
        raise InvalidError("its lease is damaged")
    if not isinstance(host, str) or not isinstance(boot, str) or not isinstance(started, str):
        raise InvalidError("its lease is damaged")
    if not host or len(host) > 255 or len(boot) > 64 or not re.fullmatch(r"\d{0,20}", started, re.ASCII):
        raise InvalidError("its lease is damaged")
    return pid, host, boot, started, beat


_KINDS: Mapping[str, Any] = {
    **{field.name: {"int": int, "str": str, "bool": bool}[field.type] for field in fields(Result) if field.type in ("int", "str", "bool")},
    "name": str | None,
}


def _entries(text: object, kind: type[Segment] | type[Result], what: str, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass from an object in JSON: all of them, and no others."""
    found = parse_json(text, what)
    if not isinstance(found, dict) or found.keys() != {field.name for field in fields(kind)} - set(without):
        raise InvalidError(f"{what} has other fields")
    return found


def _integer(value: object, what: str, *, least: int = -_TICKS) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _TICKS:
        raise InvalidError(f"{what} is {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
