"""The card that is shown while the source is gone."""

from __future__ import annotations

import av
import av.error
import numpy as np

from ..errors import UsageError
from ..io.input_container import open_input
from ..options import SourceOptions

_GREY = 40


def make_slate(path: str | None, width: int, height: int) -> av.VideoFrame:
    """An RGB picture (gbrp) of width x height pixels: the one at `path`, its shape kept, or plain dark grey.

    Raises UsageError for what is no picture, SourceError for what cannot be opened.
    """
    card = np.full((height, width, 3), _GREY, np.uint8)
    if path is not None:
        rgb = _read(path)
        factor = min(width / rgb.width, height / rgb.height)
        shown = (max(1, round(rgb.width * factor)), max(1, round(rgb.height * factor)))
        card[:] = 0
        left, top = (width - shown[0]) // 2, (height - shown[1]) // 2
        card[top : top + shown[1], left : left + shown[0]] = rgb.reformat(width=shown[0], height=shown[1], format="rgb24").to_ndarray()
    return av.VideoFrame.from_ndarray(card, format="rgb24").reformat(format="gbrp")


def _read(path: str) -> av.VideoFrame:
    with open_input(path, SourceOptions()) as container:
        try:
            return next(container.decode(video=0))
        except (StopIteration, IndexError, av.error.FFmpegError) as error:
            raise UsageError(f"--slate {path}: there is no picture in it.") from error
