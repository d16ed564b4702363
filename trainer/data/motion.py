"""Moving sequences for recurrent networks: whole runs of frames, uncompressed and through encoders, stored as one tall plane.

Half of them are the pans of `trainer.data.codec` (whole target pixels: targets as sharp as the photograph). The other
half has a hand-held camera (fractions of a pixel, rotation, zoom) and
soft-edged ellipses of the same photograph that move over it and hide it.
"""

import pathlib

import numpy as np
from PIL import Image

from trainer.data.codec import NUM_FRAMES, SIDE, SOFT_SHARE, Codec, moving_sequence, resized, round_trip
from trainer.data.degrade import KERNEL_WEIGHTS, Kernel, downscale_luma
from trainer.data.footage import is_video, read_run
from trainer.data.pair_cache import Pair
from trainer.data.photos import Plane, read_photo

SOFT_SHARE_CLEAN = 0.75  # of the sequences that are not compressed: as many soft ones as `stills.clean_pairs` has pieces
MARGIN = SIDE // 4  # mirrored around the photograph, so that a turning camera has something to see
ENCODES: tuple[tuple[Codec, float, float, str], ...] = (
    ("libx264", 15, 26, "medium"),
    ("libx264", 24, 36, "veryfast"),
    ("libx265", 20, 36, "veryfast"),
)


def sequence_pairs(path: pathlib.Path, seed: int, scale: int) -> list[Pair]:
    """One sequence of a photograph, or run of a video, its frames below each other.

    The target, and it downscaled (twice) and through two encoders.
    """
    rng = np.random.default_rng(seed)
    frames = _run_of(path, rng)
    small = [downscale_luma(frame, scale=scale, kernel="sws_bicubic") for frame in frames]
    versions = [np.concatenate(small)] * 2
    for index in rng.choice(len(ENCODES), 2, replace=False):
        codec, low, high, preset = ENCODES[int(index)]
        versions.append(np.concatenate(round_trip(small, codec=codec, crf=float(rng.uniform(low, high)), preset=preset)))
    return [(np.concatenate(frames), versions)]


def clean_sequence_pairs(path: pathlib.Path, seed: int, scale: int) -> list[Pair]:
    """As `sequence_pairs`, none compressed: through FFmpeg's bicubic (three times) and one of the other downscalers. Most are soft."""
    rng = np.random.default_rng(seed)
    frames = _run_of(path, rng, soft_share=SOFT_SHARE_CLEAN)
    others = [kernel for kernel in KERNEL_WEIGHTS if kernel != "sws_bicubic"]
    kernels: tuple[Kernel, ...] = ("sws_bicubic", others[int(rng.integers(len(others)))])
    often, seldom = (np.concatenate([downscale_luma(frame, scale=scale, kernel=kernel) for frame in frames]) for kernel in kernels)
    return [(np.concatenate(frames), [often, often, often, seldom])]


def _run_of(path: pathlib.Path, rng: np.random.Generator, *, soft_share: float = SOFT_SHARE) -> list[Plane]:
    """Frames of a video, or of a photograph under a camera."""
    if is_video(path):
        return read_run(path, rng, num_frames=NUM_FRAMES, side=SIDE)
    luma = resized(read_photo(path), rng, soft_share=soft_share)
    return moving_sequence(luma, rng=rng) if rng.random() < 0.5 else camera_sequence(luma, rng=rng)


def camera_sequence(luma: Plane, *, rng: np.random.Generator, num_frames: int = NUM_FRAMES, side: int = SIDE) -> list[Plane]:
    """`num_frames` squares of a luma picture (larger than `side`) under a camera that pans, turns and zooms, with up to two objects."""
    picture = Image.fromarray(np.pad(luma, MARGIN, mode="reflect"))
    camera = _Path(rng, picture, side)
    objects = []
    for _ in range(int(rng.integers(3))):
        texture, course = _Path(rng, picture, side), _Path(rng, picture, side)
        objects.append((texture, course, rng.uniform(side / 12, side / 4, 2)))
    frames = []
    for t in range(num_frames):
        frame = camera.look(picture, t).astype(np.float32)
        for texture, course, radii in objects:
            y, x = np.mgrid[:side, :side]
            # where the object is: its path's drift from the middle of the frame, not where its texture comes from
            middle = side / 2 + course.offset * side / 3 + course.speed * t
            reach = np.hypot((y - middle[0]) / radii[0], (x - middle[1]) / radii[1])
            cover = np.clip((1 - reach) * radii.min() + 0.5, 0, 1)  # an edge of one pixel
            frame += cover.astype(np.float32) * (texture.look(picture, 0, shift=course.speed * t) - frame)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return frames


class _Path:
    """Where a camera looks: a random place, speed (pixels a frame), turn (radians a frame) and zoom (a frame)."""

    def __init__(self, rng: np.random.Generator, picture: Image.Image, side: int) -> None:
        self.side = side
        self.room = np.array([picture.height, picture.width], np.float64) - side
        self.offset = rng.uniform(-1, 1, 2)
        self.start = (self.offset + 1) / 2 * self.room
        self.speed = rng.normal(0, 1, 2) * rng.choice([0.3, 1.5, 5.0])
        self.turn = rng.normal(0, 0.006)
        self.zoom = float(np.exp(rng.normal(0, 0.006)))

    def look(self, picture: Image.Image, t: int, *, shift: np.ndarray | None = None) -> Plane:
        """The square at time t; `shift` moves the picture in it, in pixels (y, x)."""
        at = np.clip(self.start + self.speed * t - (0 if shift is None else shift), 0, self.room) + self.side / 2
        angle, size = self.turn * t, self.zoom**t
        a, b = size * np.cos(angle), size * np.sin(angle)
        half = self.side / 2
        matrix = (a, -b, at[1] - (a - b) * half, b, a, at[0] - (a + b) * half)
        shape = (self.side, self.side)
        return np.asarray(picture.transform(shape, Image.Transform.AFFINE, tuple(float(m) for m in matrix), Image.Resampling.BICUBIC))
