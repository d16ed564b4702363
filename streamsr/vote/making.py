"""Making the pictures of a vote: moments of videos at half their size, enlarged again with each of several settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import av
from av.video.reformatter import Interpolation, VideoReformatter

from ..device.device_selection import find_devices
from ..device.upscaler_factory import open_upscaler
from ..errors import SinkError, SourceError
from ..io.moments import read_at
from ..io.pictures import encode_png, to_rgb
from ..options import SourceOptions, UpscaleOptions
from ..output_file import atomic_output
from ..trial.moments import Moment
from ..trial.studio import Studio
from .candidates import ORIGINAL


def make_pictures(
    folder: Path, moments: Sequence[Moment], tries: Mapping[str, UpscaleOptions], source: SourceOptions
) -> list[Path]:  # fmt: skip
    """CONTENT_original.png and CONTENT_NAME.png of every moment and setting; gives their paths.

    The original is the frame itself, so the metric has something to compare with; what is enlarged is half of it.
    Raises SourceError, EngineError, SinkError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with Studio(list(moments), source) as studio:
        opened = {name: open_upscaler(_opened(options)) for name, options in tries.items()}
        try:
            for number, moment in enumerate(moments):
                video = studio.video(moment.url)
                found = read_at(moment.url, float(video.origin) + moment.time_s, origin=video.origin, rate=video.rate, options=source)
                if not found:
                    raise SourceError(f"{moment.url} has no frame at {moment.time_s:g} s.")
                frame, content = _even(found[0][1]), f"{_plain(Path(moment.url).stem)}-{number + 1}"
                half = VideoReformatter().reformat(frame, frame.width // 2, frame.height // 2, interpolation=Interpolation.AREA)
                half.time_base, half.pts = frame.time_base, frame.pts
                made.append(_write(folder / f"{content}_{ORIGINAL}.png", frame))
                for name, upscaler in opened.items():
                    upscaler.turn_to(2, size=(frame.width, frame.height))
                    (after,) = upscaler.stream(iter([half]))
                    made.append(_write(folder / f"{content}_{name}.png", after))
        finally:
            for upscaler in opened.values():
                upscaler.close()
    return made


def _opened(options: UpscaleOptions) -> UpscaleOptions:
    return replace(options, scale=2, size=None, device=find_devices(options)[0])


def _even(frame: av.VideoFrame) -> av.VideoFrame:
    """Without an odd column or row, so that half of it is whole pixels."""
    width, height = frame.width // 4 * 4, frame.height // 4 * 4
    return frame if (width, height) == (frame.width, frame.height) else VideoReformatter().reformat(frame, width, height)


def _write(path: Path, frame: av.VideoFrame) -> Path:
    try:
        with atomic_output(path) as draft:
            draft.write_bytes(encode_png(to_rgb(frame)))
    except OSError as error:
        raise SinkError(f"Cannot write {path}: {error.strerror}.") from error
    return path


def _plain(text: str) -> str:
    """A file name's part: no underscore, which separates content from method."""
    return re.sub(r"[^\w.-]|_", "-", text) or "video"
