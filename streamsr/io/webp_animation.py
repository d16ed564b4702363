"""Animated WebP, which FFmpeg does not decode: Pillow does, into a lossless file that FFmpeg reads."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.codec.context import Flags

from ..errors import SourceError

if TYPE_CHECKING:
    from PIL import Image

_ANIMATED = 0x02  # WebP container specification, "extended file format"
_UNSAID_MS = 100  # that browsers show a picture for which no time is given
_folders: list[tempfile.TemporaryDirectory[str]] = []  # of what was decoded; they go when the process ends


def is_animated_webp(path: str) -> bool:
    """Whether a file is an animated WebP, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(21)
    return len(head) == 21 and head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20] & _ANIMATED)


def decode_webp(path: str) -> str:
    """The name of a temporary file with the same pictures. Raises SourceError."""
    facts = os.stat(path)
    return _decode(os.path.abspath(path), facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4)
def _decode(path: str, changed_ns: int, size: int) -> str:
    try:
        from PIL import Image
    except ImportError as error:
        hint = "pip install 'streamsr[pictures]', which brings Pillow; or make it a GIF or APNG first"
        raise SourceError(f"{path}: FFmpeg {av.ffmpeg_version_info} does not decode animated WebP.", hint=hint) from error
    folder = tempfile.TemporaryDirectory(prefix="streamsr-")
    target = str(Path(folder.name) / "animation.mov")
    try:
        with Image.open(path) as animation:
            _write(animation, target)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        folder.cleanup()
        raise SourceError(f"{path}: not an animated WebP that Pillow can read: {error}.") from error
    _folders.append(folder)
    return target


def _write(animation: Image.Image, target: str) -> None:
    from PIL import ImageSequence

    with av.open(target, "w") as container:
        stream = container.add_stream("png", rate=25, options={"compression_level": "1"})
        context = stream.codec_context
        context.width, context.height = animation.size
        context.pix_fmt = "rgba" if animation.mode == "RGBA" else "rgb24"
        context.time_base = stream.time_base = Fraction(1, 1000)
        context.flags |= Flags.frame_duration
        time_ms = 0
        for picture in ImageSequence.Iterator(animation):
            samples = np.asarray(picture.convert("RGBA" if context.pix_fmt == "rgba" else "RGB"))
            frame = av.VideoFrame.from_ndarray(samples, format=context.pix_fmt)
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            frame.duration = int(picture.info.get("duration") or 0) or _UNSAID_MS
            time_ms += frame.duration
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
