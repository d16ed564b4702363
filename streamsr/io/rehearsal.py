"""Rehearsal: the output's header with all tracks and a few small pictures, written and read back before any work, so that what cannot be
is known at once.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import av
import av.error
import numpy as np

from ..errors import SinkError, SourceError
from ..frame import Frame
from ..options import SinkOptions, SourceOptions
from .containers import find_format, is_pattern
from .encoder_settings import Encoding
from .pace import check_pace
from .sink import Sink
from .source import Source, open_source
from .tags import Tags

_WIDTH, _HEIGHT = 256, 144  # pixels; every encoder takes them
_NUM_FRAMES = 4  # x265 that gets fewer pictures than it may put off makes up decoding times at random
_TRIED = ("mp4", "mov", "matroska", "webm", "mpegts", "avi", "mxf", "gif", "apng")


def rehearse(url: str, source: Source, size: tuple[int, int], pix_fmt: str, options: SinkOptions) -> Tags | None:
    """The tags that a reader finds in such an output, None where the container has none or the output is no file.

    size, pix_fmt: (width, height) in pixels and format of the upscaled frames. Raises SinkError for whatever encoder or container refuse.
    """
    output = find_format(url, options.format)
    check_pace(url, source, output)
    if url == "-" or is_pattern(url) or output.muxer not in _TRIED or options.encode.gpu is not None:
        return None
    encoding = Encoding.choose(source, size, pix_fmt, output=output, wanted=options.encode)
    with tempfile.TemporaryDirectory(prefix="streamsr-") as folder:
        path = Path(folder) / f"rehearsal{Path(url).suffix}"
        sink = Sink(url, source, av.VideoFrame(_WIDTH, _HEIGHT, pix_fmt), options, target=str(path))
        try:
            noise = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH))
            step = max(1, round(1 / encoding.rate / encoding.time_base))
            for number in range(_NUM_FRAMES):
                frame = av.VideoFrame(_WIDTH, _HEIGHT, pix_fmt)
                Frame(frame).luma[:] = noise  # a transport stream of nothing but black is too short to be recognised
                frame.pts, frame.time_base = number * step, encoding.time_base
                frame.colorspace, frame.color_range = encoding.tags.matrix, encoding.tags.range
                sink.write(frame)
            sink.close_rehearsal()
        except BaseException:
            sink.abandon(keep=False)
            raise
        try:
            with open_source(path, SourceOptions(deinterlace="off")) as written:
                return written.tags
        except SourceError as error:
            words = f"{url}: {encoding.encoder} in {output.muxer} gives no video that can be read"
            raise SinkError(f"{words}: {error}.", hint="try another --encoder") from error
