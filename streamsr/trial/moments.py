"""Moments: where a video is worth a look. Scenes begin at key frames, so key frames alone are decoded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from ..errors import SourceError, UsageError
from ..frame import Frame, find_layout
from ..io.input_container import open_input, pick_video
from ..options import SourceOptions
from ..resample import to_planar
from ..upscaling.scene_cuts import compare, reduce

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
NUM_MOMENTS = 3
MAX_PICTURES = 24  # of a folder
_KEY_FRAMES = 6  # that are looked at for each moment
_WITHIN_S = 0.4  # for each moment
_AFTER_S = 0.3  # a scene's first frame is coded better than those that follow
_FLAT = 12.0  # standard deviation of block means, in codes of 255: black, titles, fog


@dataclass(frozen=True, slots=True)
class Moment:
    """A frame of a video, or a picture."""

    url: str
    time_s: float  # from the start of the input


def find_moments(inputs: Sequence[str], times: Sequence[float], options: SourceOptions) -> list[Moment]:
    """The times that are given, or where scenes begin; the pictures of a folder. Raises SourceError, UsageError."""
    if len(inputs) == 1 and Path(inputs[0]).is_dir():
        found = sorted(path for path in Path(inputs[0]).iterdir() if path.suffix.lower() in PICTURES)
        if not found:
            raise SourceError(f"{inputs[0]} holds no pictures ({', '.join(PICTURES)}).", hint="give a video, or a folder of pictures")
        step = max(1, -(-len(found) // MAX_PICTURES))
        return [Moment(str(path), 0.0) for path in found[::step]]
    if "-" in inputs:
        raise UsageError("preview looks at several places of a video, and a pipe has but one.", hint="write it to a file first")
    count = max(1, -(-NUM_MOMENTS // len(inputs)))
    return [Moment(url, time_s) for url in inputs for time_s in (times or find_scenes(url, count, options))]


def find_scenes(url: str, count: int, options: SourceOptions) -> list[float]:
    """Seconds from the start at which scenes begin, near even distances; fewer where the video has no length."""
    with open_input(url, options) as container:
        stream = pick_video(container, url)
        if not container.duration or container.duration <= 0:
            return [0.0]
        duration = container.duration / av.time_base
        start = (container.start_time or 0) / av.time_base
        stream.thread_type = "SLICE"  # no frame waits for others to come
        stream.codec_context.skip_frame = "NONKEY"
        targets = [duration * (2 * i + 0.5) / (2 * count) for i in range(count)]
        found = [_scene_after(container, stream, start, target, target + duration / (2 * count)) for target in targets]
    last = max(0.0, duration - 0.2)
    times = [min(target if scene is None else scene + _AFTER_S, last) for target, scene in zip(targets, found, strict=True)]
    return sorted({round(time_s, 3) for time_s in times})


def _scene_after(
    container: av.container.InputContainer, stream: av.VideoStream, start: float, target: float, end: float
) -> float | None:  # fmt: skip
    """The key frame between target and end that differs most from the one before and is not flat; None where there is none."""
    deadline = time.monotonic() + _WITHIN_S
    best: tuple[float, float] | None = None
    before: np.ndarray | None = None
    try:
        container.seek(int((start + target) * av.time_base), backward=True)
        for number, frame in enumerate(container.decode(stream)):
            seconds = (frame.time or 0.0) - start
            if number >= _KEY_FRAMES or seconds > end or (number and time.monotonic() > deadline):
                break
            blocks = _blocks(frame)
            if blocks is None:
                return None
            change = 1.0 if before is None else compare(before, blocks)[0]
            score = change if blocks.std() > _FLAT else change / 10
            if seconds >= target and (best is None or score > best[0]):
                best = score, seconds
            before = blocks
    except av.FFmpegError:
        return None
    return None if best is None else best[1]


def _blocks(frame: av.VideoFrame) -> np.ndarray | None:
    """Block means of luma in codes of 255; None for frames that have no samples in host memory."""
    try:
        planar = to_planar(frame)
    except ValueError:
        return None
    layout = find_layout(planar.format.name)
    if layout is None:
        return None
    return np.asarray(reduce(Frame(planar).planes[0]) / (1 << (layout.bits - 8)))
