"""Line charts as PNG, with Pillow alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

_SIZE, _LEFT, _TOP, _BOTTOM = (1200, 420), 60, 40, 50  # pixels
_COLOURS = ("#c0392b", "#2c3e50", "#27ae60")


def draw_lines(path: Path, series: Mapping[str, Sequence[float]], *, rate: float, start: float, marks: Sequence[float], title: str) -> None:
    """Draw values over time: `rate` of them a second from `start` (seconds) on, a grey line at each of `marks` (seconds)."""
    width, height = _SIZE
    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    count = max(len(values) for values in series.values())
    low = min(min(values) for values in series.values())
    low, high = int(low) - 1, 100.5

    def at(index: float, value: float) -> tuple[float, float]:
        x = _LEFT + index / count * (width - _LEFT - 20)
        return x, _TOP + (high - value) / (high - low) * (height - _TOP - _BOTTOM)

    for mark in marks:
        draw.line([at((mark - start) * rate, low), at((mark - start) * rate, high)], fill="#cccccc", width=2)
    for value in range(low, 101, max(1, (101 - low) // 8)):
        draw.text((20, at(0, value)[1] - 6), str(value), fill="black")
        draw.line([at(0, value), at(count, value)], fill="#eeeeee")
    for second in range(-int(-start // 1), int(start + count / rate) + 1):
        draw.text((at((second - start) * rate, low)[0] - 6, height - _BOTTOM + 8), f"{second} s", fill="black")
    for (name, values), colour, place in zip(series.items(), _COLOURS, range(len(series)), strict=False):
        draw.line([at(index, value) for index, value in enumerate(values)], fill=colour, width=2)
        draw.text((_LEFT + 10 + 200 * place, height - 22), name, fill=colour)
    draw.text((_LEFT, 14), title, fill="black")
    image.save(path, optimize=True)
