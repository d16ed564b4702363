"""Black bars: what part of the pictures of a file holds picture, seen in moments from all over it.

Note [Black bars]
    What is dark at one moment may be picture at another. So a row or column belongs to the picture where a single moment shows something
    there; only what is black in all of them can be a bar. That alone would cut a film that is dark at its edges all the time. So a bar has
    to end straight as well: the picture begins with one row, over a good part of its width, in several moments. And bars are on both sides:
    a wide one on one side alone is a dark picture. Where this leaves a doubt, nothing is cut off.
    Edges are moved outward to whole chroma samples: up to three rows of black stay, no row of picture goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

from ..frame import Frame
from ..options import Crop
from ..resample import to_planar
from .crop import chroma_step

NUM_MOMENTS = 24
_FEWEST = 3  # moments that show something
_MEAN, _BRIGHT = 6, 16  # 8-bit codes above black: mean of a row that is not black; a pixel that is picture
_FEW_PIXELS = 0.002  # of a row, or two of them: noise
_STRAIGHT = 0.4  # of a row that has to be picture where a bar ends
_SURE = 3  # moments in which it does
_WIDE = 0.04  # of a side: a bar that needs another one opposite
_EVEN = 0.5  # how wide the narrower of two bars is at least, beside the wider one
_NEAR = 4  # pixels by which two bars of one width may differ


@dataclass(frozen=True, slots=True)
class _View:
    """What one moment shows."""

    levels: np.ndarray  # (h, w) uint8, luma in 8-bit codes above black
    extents: tuple[int, int, int, int]  # left, right, top, bottom of the picture; right and bottom are behind it


def find_picture(frames: Sequence[av.VideoFrame], *, keeps_fields: bool = False) -> Crop | None:
    """The part of the frames, all of one file, that is not black bars; None where there are none, or none that are sure.

    keeps_fields: interlaced frames stay interlaced.
    """
    sizes = {(frame.width, frame.height) for frame in frames}
    if len(sizes) != 1:
        return None
    ((width, height),) = sizes
    views = [view for frame in frames if (view := _view(frame)) is not None]
    if len(views) < _FEWEST:
        return None
    extents = np.array([view.extents for view in views])
    left, top = (int(extents[:, at].min()) for at in (0, 2))
    right, bottom = (int(extents[:, at].max()) for at in (1, 3))
    across = _sure_bars(left, width - right, width, [_straight(view.levels.T, left, right) for view in views])
    down = _sure_bars(top, height - bottom, height, [_straight(view.levels, top, bottom) for view in views])
    step = chroma_step(frames[0], interlaced=keeps_fields and any(frame.interlaced_frame for frame in frames))
    left, right = _outward(*across, width, max(2, step[0]))
    top, bottom = _outward(*down, height, max(2, step[1]))
    return None if (right - left, bottom - top) == (width, height) else Crop(right - left, bottom - top, left, top)


def _view(frame: av.VideoFrame) -> _View | None:
    """None for a picture that is black altogether."""
    planar = Frame(to_planar(frame))
    layout = planar.layout
    planes = planar.planes[:3] if layout.kind == "rgb" else planar.planes[:1]
    luma = np.maximum.reduce(planes) >> (layout.bits - 8)
    is_full = layout.kind == "rgb" or frame.color_range == 2 or frame.format.name.startswith("yuvj")
    levels = luma.astype(np.uint8) - np.minimum(luma, 0 if is_full else 16).astype(np.uint8)
    rows = _shown(levels)
    if not rows.any():
        return None
    top, bottom = _ends(rows)
    columns = _shown(levels[top:bottom].T)
    left, right = _ends(columns) if columns.any() else (0, levels.shape[1])
    return _View(levels, (left, right, top, bottom))


def _shown(levels: np.ndarray) -> np.ndarray:
    """Which rows hold picture."""
    few = max(2, round(levels.shape[1] * _FEW_PIXELS))
    return np.asarray((levels.mean(axis=1) > _MEAN) | ((levels > _BRIGHT).sum(axis=1) > few))


def _ends(shown: np.ndarray) -> tuple[int, int]:
    found = np.flatnonzero(shown)
    return int(found[0]), int(found[-1]) + 1


def _straight(levels: np.ndarray, first: int, last: int) -> tuple[bool, bool]:
    """Whether the picture begins with row `first`, and ends before row `last`, over a good part of its width."""
    edges = levels[first : first + 3], levels[max(0, last - 3) : last]
    return tuple(float((edge.max(axis=0) > _BRIGHT).mean()) >= _STRAIGHT for edge in edges)  # type: ignore[return-value]


def _sure_bars(before: int, after: int, side: int, straight: Sequence[tuple[bool, bool]]) -> tuple[int, int]:
    """The widths of both bars; 0 for what is no bar for sure."""
    if max(before, after) > _WIDE * side and min(before, after) < _EVEN * max(before, after):
        return 0, 0
    counts = [sum(one[at] for one in straight) for at in (0, 1)]
    near = abs(before - after) <= _NEAR
    sure = [count >= _SURE or (near and count >= 1 and counts[1 - at] >= _SURE) for at, count in enumerate(counts)]
    if max(before, after) > _WIDE * side and not all(sure):
        return 0, 0
    return before if sure[0] else 0, after if sure[1] else 0


def _outward(before: int, after: int, side: int, step: int) -> tuple[int, int]:
    """Where the picture begins and ends, in whole chroma samples."""
    first = before // step * step
    last = side if after < step else min(side, first + -(-(side - after - first) // step) * step)
    return first, last
