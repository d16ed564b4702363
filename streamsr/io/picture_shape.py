"""Shape: pictures that are shown in another shape than the first one are put between bars, so that every one keeps its own.

A television programme goes from 4:3 to 16:9 by another pixel aspect or another size, while the output has one of each. Bars are added
at the picture's own resolution; the upscaler brings it to the size of the output.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import av.error
from av.filter import Graph

from ..errors import SourceError
from ..frame import fetch, sample_format
from ..libav import picture_of

_SAME = 0.01  # of the aspect: a codec's cropping (1088 rows for 1080) is no other shape
_GRID = 4  # pixels: whole chroma samples of both fields


class PictureShape:
    """The shape of a video's first picture, and what is done to pictures of another."""

    def __init__(self, aspect: Fraction | None = None) -> None:
        """aspect: width to height of the first picture as it is shown, where it is not the first one seen."""
        self.aspect = aspect
        self.num_changed = 0
        self.first_changed_pts: int | None = None
        self._pixel = Fraction(1)  # aspect of a pixel; what does not say it has that of the picture before
        self._kind: tuple[int, int, str, Fraction] | None = None  # of pictures that the graph takes
        self._graph = Graph()

    def keep(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """The frames, those of another shape between bars. Raises SourceError for a pixel format that takes none."""
        for frame in frames:
            found = picture_of(frame).sample_aspect_ratio
            if found.num > 0 and found.den > 0:
                self._pixel = Fraction(found.num, found.den)
            aspect = frame.width * self._pixel / frame.height
            self.aspect = self.aspect or aspect
            ratio = aspect / self.aspect
            if abs(ratio - 1) <= _SAME:
                yield frame
                continue
            if self.first_changed_pts is None:
                self.first_changed_pts = frame.pts
            self.num_changed += 1
            yield self._between_bars(fetch(frame), ratio)

    def _between_bars(self, frame: av.VideoFrame, ratio: Fraction) -> av.VideoFrame:
        """ratio: how much wider the picture is than the first one's shape."""
        kind = (frame.width, frame.height, sample_format(frame), ratio)
        if self._kind != kind:
            self._kind, self._graph = kind, _open_bars(frame, ratio)
        time_base = frame.time_base
        self._graph.vpush(frame)
        framed = self._graph.vpull()
        framed.time_base = time_base
        return framed


def _open_bars(frame: av.VideoFrame, ratio: Fraction) -> Graph:
    width = frame.width if ratio >= 1 else _even(frame.width / ratio)
    height = frame.height if ratio <= 1 else _even(frame.height * ratio)
    left, top = ((side - inner) // 2 // _GRID * _GRID for side, inner in ((width, frame.width), (height, frame.height)))
    base = frame.time_base or Fraction(1, 1000)
    graph = Graph()
    source = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base={base.numerator}/{base.denominator}"
        f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
    )
    bars, sink = graph.add("pad", f"{width}:{height}:{left}:{top}:black"), graph.add("buffersink")
    source.link_to(bars)
    bars.link_to(sink)
    try:
        graph.configure()
    except (av.error.FFmpegError, ValueError) as error:
        words = f"The shape of the picture changes, and FFmpeg puts no bars around {frame.format.name}."
        raise SourceError(words, hint="cut it there with --start and --end") from error
    return graph


def _even(side: Fraction) -> int:
    return round(side / _GRID) * _GRID
