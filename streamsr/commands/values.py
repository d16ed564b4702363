"""Parsers of option values; each names the value and what would work."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..live.endpoint import Endpoint
    from ..options import Crop

_HEIGHTS = {"360p": 360, "480p": 480, "540p": 540, "720p": 720, "1080p": 1080, "1440p": 1440, "2160p": 2160, "4320p": 4320}
_BOXES = {"2k": (2048, 1080), "4k": (3840, 2160), "uhd": (3840, 2160), "8k": (7680, 4320)}


def scale(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a factor from 0.1 to 16, such as 2 or 1.5")
    return value


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def size(text: str) -> tuple[int, int]:
    """(width, height) to fit into; 0 leaves a side free."""
    lower = text.lower()
    if lower in _HEIGHTS:
        return 0, _HEIGHTS[lower]
    if lower in _BOXES:
        return _BOXES[lower]
    return pixels(text)


def pixels(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})", text, re.ASCII)
    if found is None or not all(0 < int(side) <= 65536 for side in found.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, such as 1440p, 4k or 2560x1440")
    return int(found.group(1)), int(found.group(2))


def crop(text: str) -> Crop | Literal["auto"] | None:
    from ..options import Crop

    if text in ("auto", "off"):
        return "auto" if text == "auto" else None
    found = re.fullmatch(r"(\d{1,9})x(\d{1,9})\+(\d{1,9})\+(\d{1,9})", text, re.ASCII)
    if found is None or not int(found[1]) or not int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, off or WxH+X+Y, such as 720x432+0+72")
    return Crop(*map(int, found.groups()))


def rate(text: str) -> Fraction:
    try:
        value = Fraction(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?(/\d{1,9})?", text, re.ASCII) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate, such as 25 or 30000/1001")
    return value


def seconds(text: str) -> float:
    """Seconds, or [hours:]minutes:seconds."""
    if not re.fullmatch(r"(\d{1,9}:){0,2}\d{1,9}(\.\d{1,9})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 90, 1:30 or 0:01:30.5")
    total = 0.0
    for part in text.split(":"):
        total = total * 60 + float(part)
    return total


def duration(text: str) -> float:
    """Seconds: 0, or enough for a few frames."""
    value = seconds(text)
    if 0 < value < 0.1:
        raise argparse.ArgumentTypeError(f"{text!r} is too short; give 0 or at least 0.1 seconds")
    return value


def count(text: str) -> int:
    if not _is_whole(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def every(text: str) -> int | None:
    """Every N-th; None for "auto"."""
    return None if text == "auto" else count(text)


def workers(text: str) -> int | Literal["auto"]:
    return "auto" if text == "auto" else count(text)


def flight(text: str) -> int:
    if text not in ("1", "2", "3", "4"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames from 1 to 4")
    return int(text)


def natural(text: str) -> int:
    if not _is_whole(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as tune=film")
    return key, value


def endpoint(text: str) -> Endpoint:
    """HOST:PORT, [IPv6]:PORT or PORT."""
    from ..live.endpoint import parse_endpoint

    try:
        return parse_endpoint(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def milliseconds(text: str) -> float:
    """Seconds, from milliseconds or a number with a unit: 500, 500ms, 0.5s."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s)?", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time, such as 500 (milliseconds), 500ms or 0.5s")
    return float(found[1]) / (1 if found[2] == "s" else 1000)


def span(text: str) -> float:
    """Seconds, from a number with a unit or as `seconds` reads it."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h)", text, re.ASCII)
    if found is not None:
        return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]
    try:
        return seconds(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time, such as 30s, 10m or 1h") from None


def attempts(text: str) -> float:
    """How many attempts in a row: forever, off or a number."""
    if text == "forever":
        return float("inf")
    if text == "off":
        return 0
    if not _is_whole(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not forever, off or a number of attempts")
    return int(text)


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number that fits anywhere; str.isdigit would take other scripts' digits, of any length."""
    return re.fullmatch(r"\d{1,9}", text, re.ASCII) is not None
