"""Video files as training data: runs of frames of one scene, out of anywhere in the file.

A run is read after a jump to a random time, and a few frames more, so that it may begin anywhere between key frames. Where the picture
does not go on (Note [Scene cuts] of streamsr.upscaling.scene_cuts) it begins anew. No more frames than the run are held.
"""

import contextlib
import pathlib
from collections.abc import Iterator

import av
import numpy as np
from PIL import Image

from streamsr.upscaling.scene_cuts import Continuity
from trainer.data.photos import Plane, list_photos, read_photo
from trainer.evaluation.eval_clips import SUFFIXES, studio_luma
from trainer.trainer_error import TrainerError

TRIES = 5  # places in a file
LONGEST = 250  # frames looked at after a jump
LEAST = 2.0  # codes: standard deviation of a picture that shows something


def is_video(path: pathlib.Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES


def read_still(path: pathlib.Path, seed: int) -> Plane:
    """RGB uint8 (H, W, 3): a photograph, or a frame out of a video. Raises TrainerError as `read_photo` and `read_run` do."""
    if not is_video(path):
        return read_photo(path)
    return _read(path, np.random.default_rng(seed), num_frames=1, side=64, rgb=True)[0]


def list_footage(folder: pathlib.Path) -> list[pathlib.Path]:
    """Photographs and videos directly in `folder`, sorted by name. Raises TrainerError where there is no photograph."""
    return sorted([*list_photos(folder), *(path for path in folder.iterdir() if is_video(path))])


def read_run(path: pathlib.Path, rng: np.random.Generator, *, num_frames: int, side: int, rgb: bool = False) -> list[Plane]:
    """Studio luma (side, side), or RGB (side, side, 3), of consecutive frames of one scene: the same random square out of each.

    Large pictures are made smaller by a random factor, as photographs are: it takes away what compression did to them. Raises TrainerError
    where a file cannot be decoded, is too small, or has no such run.
    """
    frames = _read(path, rng, num_frames=num_frames, side=side, rgb=rgb)
    height, width = frames[0].shape[:2]
    least = (side + 16) / min(height, width)
    if least < 1:
        factor = float(rng.uniform(least, 1))
        size = (max(side, round(width * factor)), max(side, round(height * factor)))
        frames = [np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames]
        height, width = frames[0].shape[:2]
    y, x = (int(rng.integers(n - side + 1)) for n in (height, width))
    return [np.ascontiguousarray(frame[y : y + side, x : x + side]) for frame in frames]


def _read(path: pathlib.Path, rng: np.random.Generator, *, num_frames: int, side: int, rgb: bool) -> list[Plane]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise TrainerError(f"{str(path)!r} holds no video. Remove it from the folder.")
            stream = container.streams.video[0]
            # one thread: files are read on every core at once
            stream.codec_context.thread_count = 1
            for attempt in range(TRIES):
                last = attempt == TRIES - 1  # from the start, in case that the file cannot jump
                _jump(container, 0.0 if last else float(rng.random()))
                skip = 0 if last else int(rng.integers(2 * num_frames))
                run = _run(container.decode(stream), skip, num_frames, rgb=rgb)
                if run and min(run[0].shape[:2]) < side:
                    height, width = run[0].shape[:2]
                    raise TrainerError(f"The video {str(path)!r} is {width}x{height}; training needs {side} pixels a side.")
                if len(run) == num_frames and float(run[0].std()) > LEAST:
                    return run
    except (OSError, ValueError, IndexError, av.error.FFmpegError) as error:
        raise TrainerError(f"Cannot decode the video {str(path)!r}: {error}. Remove it from the folder.") from error
    raise TrainerError(f"The video {str(path)!r} has no {num_frames} frames of one scene that show something.")


def _jump(container: av.container.InputContainer, share: float) -> None:
    """To a share of the duration. A file without one, or that cannot jump, is read on from where it is."""
    if container.duration:  # microseconds
        with contextlib.suppress(av.error.FFmpegError):
            container.seek((container.start_time or 0) + int(share * container.duration), backward=True)


def _run(frames: Iterator[av.VideoFrame], skip: int, num_frames: int, *, rgb: bool) -> list[Plane]:
    """The first run after `skip` frames; shorter where the file ends."""
    continuity, run = Continuity(), list[Plane]()
    for count, frame in enumerate(frames):
        if count < skip:
            continue
        luma = studio_luma(frame)
        if not continuity.picture_goes_on(luma, 8):
            run.clear()
        run.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) if rgb else luma)
        if len(run) == num_frames or count > LONGEST:
            break
    return run
