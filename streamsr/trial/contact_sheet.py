"""The contact sheet: moments below each other, source and result side by side, whole and a part of each at its own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import SinkError, UsageError
from ..io.pictures import to_rgb
from ..output_file import atomic_output
from .moments import Moment
from .studio import Shot

_WIDTH, _GAP, _LINE = 640, 8, 22  # pixels: of a picture, between pictures, of a line of words
_PAPER, _INK = (18, 20, 24), (232, 235, 239)


def check_sheet(file: Path) -> None:
    """Whether `save_sheet` will work, before anything is made. Raises UsageError."""
    try:
        import PIL  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError("--sheet needs Pillow.", hint="pip install 'streamsr[live]'") from error
    if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise UsageError(f"--sheet {file}: the name must end in .png, .jpg or .webp.")
    if not file.parent.is_dir():
        raise UsageError(f"--sheet {file}: the folder {file.parent} does not exist.")


def save_sheet(shots: Sequence[Shot], moments: Sequence[Moment], file: Path) -> None:
    """A row a moment: source, result, then the part with the most detail of both, enlarged to whole pixels. Raises SinkError."""
    from PIL import Image, ImageDraw, ImageFont

    rows = []
    for shot in shots:
        height = round(_WIDTH * shot.after.height / shot.after.width)
        pair = [to_rgb(frame).to_ndarray() for frame in (shot.before, shot.after)]
        wholes = [Image.fromarray(rgb).resize((_WIDTH, height), Image.Resampling.LANCZOS) for rgb in pair]
        zoom = 2 if shot.after.width < 4 * _WIDTH else 1
        part = (min(_WIDTH // zoom, shot.after.width), min(height // zoom, shot.after.height))
        x, y = _busiest(pair[1], *part)
        cells = [Image.fromarray(rgb[y : y + part[1], x : x + part[0]]) for rgb in pair]
        parts = [cell.resize((cell.width * zoom, cell.height * zoom), Image.Resampling.NEAREST) for cell in cells]
        rows.append((height, [*wholes, *parts]))
    sheet = Image.new("RGB", (4 * _WIDTH + 5 * _GAP, sum(height + _LINE + _GAP for height, _ in rows) + _GAP), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = _GAP
    for (height, cells), shot, moment in zip(rows, shots, moments, strict=True):
        names = (f"{Path(moment.url).name}, {moment.time_s:.1f} s: source {shot.size[0]}x{shot.size[1]}",
                 f"{shot.model}, {shot.after.width}x{shot.after.height}", "source, a part", f"{shot.model}, the same part")  # fmt: skip
        for column, (name, cell) in enumerate(zip(names, cells, strict=True)):
            left = _GAP + column * (_WIDTH + _GAP)
            pen.text((left, top), name, fill=_INK, font=font)
            sheet.paste(cell, (left, top + _LINE))
        top += height + _LINE + _GAP
    try:
        with atomic_output(file) as draft:
            sheet.save(draft)
    except OSError as error:
        raise SinkError(f"Cannot write the sheet {file}: {error.strerror or error}.") from error


def _busiest(rgb: np.ndarray, width: int, height: int) -> tuple[int, int]:
    """(x, y) of the part of this size with the most detail."""
    luma = rgb.mean(axis=2)
    detail = np.abs(np.diff(luma, axis=1))[:-1] + np.abs(np.diff(luma, axis=0))[:, :-1]
    sums = np.pad(detail.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    best, place = -1.0, (0, 0)
    for y in range(0, detail.shape[0] - height + 2, max(1, height // 4)):
        for x in range(0, detail.shape[1] - width + 2, max(1, width // 4)):
            bottom, right = min(y + height, detail.shape[0]), min(x + width, detail.shape[1])
            total = float(sums[bottom, right] - sums[y, right] - sums[bottom, x] + sums[y, x])
            if total > best:
                best, place = total, (x, y)
    return place
