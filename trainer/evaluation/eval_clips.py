"""Clips to evaluate on: the first frames of a video file are the original; FFmpeg's bicubic makes the source, as 8-bit luma."""

import pathlib

import av

from trainer.data.degrade import plane_of
from trainer.data.photos import Plane
from trainer.trainer_error import TrainerError

SUFFIXES = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}


def list_clips(folder: pathlib.Path) -> list[pathlib.Path]:
    """Video files directly in `folder`, sorted by name. Raises TrainerError when there are none."""
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise TrainerError(f"There is no clip in {str(folder)!r} ({', '.join(sorted(SUFFIXES))}).")
    return paths


def studio_frame(frame: av.VideoFrame) -> av.VideoFrame:
    """8-bit studio yuv420p of any decoded frame; 8-bit studio video keeps its codes."""
    return frame.reformat(format="yuv420p", dst_color_range="MPEG")


def studio_luma(frame: av.VideoFrame) -> Plane:
    """8-bit studio luma (H, W) of any decoded frame; 8-bit studio video keeps its codes."""
    return plane_of(studio_frame(frame))


def read_frames(path: pathlib.Path, count: int) -> list[av.VideoFrame]:
    """The first `count` frames as studio yuv420p, up to where the size changes. Raises TrainerError when the file cannot be decoded."""
    frames: list[av.VideoFrame] = []
    try:
        with av.open(str(path)) as container:
            for _, frame in zip(range(count), container.decode(video=0), strict=False):
                frames.append(studio_frame(frame))
    except (OSError, av.error.FFmpegError, IndexError, ValueError) as error:
        raise TrainerError(f"Cannot decode {str(path)!r}: {error}. Remove it from the folder.") from error
    frames = [frame for frame in frames if (frame.width, frame.height) == (frames[0].width, frames[0].height)]
    if not frames:
        raise TrainerError(f"{str(path)!r} holds no frame. Remove it from the folder.")
    return frames


def read_luma(path: pathlib.Path, count: int) -> list[Plane]:
    """Studio luma of the first `count` frames, as `read_frames` gives them."""
    return [plane_of(frame) for frame in read_frames(path, count)]
