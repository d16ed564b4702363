"""Compressed degradations: short moving sequences cut out of photographs, through real encoders.

A sequence is one photograph under a camera that stands, pans or zooms, often with a second piece of it moving over the first. The encoder
sees the downscaled luma; frames are taken from anywhere in the sequence, so their artefacts are those of I, P and B frames with real
motion compensation, deblocking and SAO.
"""

import pathlib
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from PIL import Image

from trainer.data.degrade import KERNEL_WEIGHTS, Kernel, downscale_luma, luma_frame, plane_of
from trainer.data.footage import is_video, read_run
from trainer.data.photos import Plane, luma_codes, read_photo

Codec = Literal["libx264", "libx265"]
NUM_FRAMES = 12
SIDE = 384  # of a target frame, in pixels; a multiple of 2 * scale for scales 2, 3, 4
TARGETS = 3  # frames kept of a sequence
SOFT_SHARE, SOFTEST = 0.6, 2.0  # of the sequences show an enlarged photograph, and by how much at most

_PRESETS: dict[Codec, tuple[str, ...]] = {
    "libx264": ("ultrafast", "veryfast", "fast", "medium", "medium", "medium", "slow"),
    "libx265": ("ultrafast", "veryfast", "medium"),
}
_DECODERS: dict[Codec, str] = {"libx264": "h264", "libx265": "hevc"}


def coded_pairs(path: pathlib.Path, seed: int, scale: int) -> list[tuple[Plane, list[Plane]]]:
    """One random sequence of a photograph, or run of a video: `TARGETS` frames, each uncompressed (three times) and through four encodes.

    Constant rate factors: x264 15..25 (twice), x264 25..36 (three times), x265 20..36.
    """
    rng = np.random.default_rng(seed)
    if is_video(path):
        frames = read_run(path, rng, num_frames=NUM_FRAMES, side=SIDE)
    else:
        frames = moving_sequence(_resized(read_photo(path), rng), rng=rng)
    kernels, weights = list(KERNEL_WEIGHTS), np.array(list(KERNEL_WEIGHTS.values()), np.float64)
    # FFmpeg's bicubic makes most of the world's small video; Pillow's kernels get what is left
    kernel: Kernel = "sws_bicubic" if rng.random() < 0.5 else kernels[int(rng.choice(len(kernels), p=weights / weights.sum()))]
    small = [downscale_luma(frame, scale=scale, kernel=kernel) for frame in frames]
    # uncompressed sources are FFmpeg's bicubic alone: among few artefacts the kernel is what there is to learn
    plain = small if kernel == "sws_bicubic" else [downscale_luma(frame, scale=scale, kernel="sws_bicubic") for frame in frames]
    encodes: list[list[Plane]] = [plain] * 3
    choices: list[tuple[Codec, int, int, int]] = [
        ("libx264", 15, 25, 2),
        ("libx264", 25, 36, 3),
        ("libx265", 20, 36, 1),
    ]
    for codec, low, high, weight in choices:
        preset = _PRESETS[codec][int(rng.integers(len(_PRESETS[codec])))]
        encodes += [round_trip(small, codec=codec, crf=float(rng.uniform(low, high)), preset=preset)] * weight
    chosen = rng.choice(NUM_FRAMES, TARGETS, replace=False)
    return [(frames[t], [encode[t] for encode in encodes]) for t in sorted(int(t) for t in chosen)]


def _resized(rgb: Plane, rng: np.random.Generator) -> Plane:
    """Luma of the photograph at a random size: most larger (soft, as most video is), others as sharp as they come or sharper."""
    height, width = rgb.shape[:2]
    least = (SIDE + 64) / min(height, width)
    if rng.random() < SOFT_SHARE:
        factor = float(np.exp(rng.uniform(0, np.log(SOFTEST))))
    else:
        factor = rng.uniform(max(0.4, least), 1.0) if least < 1 else 1.0
    factor = max(factor, least)
    if factor == 1.0:
        return luma_codes(rgb)
    size = (round(width * factor), round(height * factor))
    return luma_codes(np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC)))


def moving_sequence(luma: Plane, *, rng: np.random.Generator, num_frames: int = NUM_FRAMES, side: int = SIDE) -> list[Plane]:
    """`num_frames` square crops of a luma picture (larger than `side`) under a random camera, with or without a moving object.

    Pans move by whole target pixels (fractions of a source pixel), so the targets stay as sharp as the photograph; a third zooms and pans
    by fractions, through a bicubic warp.
    """
    height, width = luma.shape
    room = np.array([height - side, width - side], np.float64)
    start = rng.uniform(0, 1, 2) * room
    speed = np.zeros(2) if rng.random() < 0.15 else rng.normal(0, 1, 2) * rng.choice([1.0, 3.0, 8.0])
    warped = rng.random() < 0.33
    zoom = 1 + rng.uniform(-0.008, 0.008) if warped else 1.0
    picture = Image.fromarray(luma)
    patch, patch_at, patch_speed = _object(luma, rng, side)
    frames: list[Plane] = []
    for t in range(num_frames):
        at = np.clip(start + speed * t, 0, room)
        if warped:
            step = zoom**t
            middle = at + side / 2
            top, left = np.clip(middle - side / 2 * step, 0, None)
            shape = (step, 0.0, float(left), 0.0, step, float(top))
            frame = np.array(picture.transform((side, side), Image.Transform.AFFINE, shape, Image.Resampling.BICUBIC))
            if top + side * step > height or left + side * step > width:  # the warp ran over the edge: repeat the last frame
                frame = frames[-1].copy() if frames else luma[:side, :side].copy()
        else:
            y, x = np.rint(at).astype(int)
            frame = luma[y : y + side, x : x + side].copy()
        if patch is not None:
            y, x = np.clip(np.rint(patch_at + patch_speed * t).astype(int), 0, side - np.array(patch.shape))
            frame[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        frames.append(frame)
    return frames


def _object(luma: Plane, rng: np.random.Generator, side: int) -> tuple[Plane | None, np.ndarray, np.ndarray]:
    """A rectangle of the same picture, where it starts and how it moves; None for half of the sequences."""
    if rng.random() < 0.5:
        return None, np.zeros(2), np.zeros(2)
    h, w = rng.integers(side // 8, side // 2, 2)
    y, x = int(rng.integers(luma.shape[0] - h + 1)), int(rng.integers(luma.shape[1] - w + 1))
    return luma[y : y + h, x : x + w].copy(), rng.uniform(0, side, 2), rng.normal(0, 4, 2)


def round_trip(frames: list[Plane], *, codec: Codec, crf: float, preset: str) -> list[Plane]:
    """Encode luma planes (equal, even sizes) as yuv420p and decode them again: as many, in the same order."""
    height, width = frames[0].shape
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    # one thread: sequences are encoded on every core at once, and the bits must not depend on the machine
    encoder.options = {"crf": f"{crf:.2f}", "preset": preset, "threads": "1"}
    if codec == "libx265":
        encoder.options |= {"x265-params": "log-level=none:pools=none:frame-threads=1"}
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    packets = []
    for pts, plane in enumerate(frames):
        frame = luma_frame(plane)
        frame.pts = pts
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoded = [frame for packet in packets for frame in decoder.decode(packet)]
    decoded += decoder.decode(None)
    if len(decoded) != len(frames):
        raise RuntimeError(f"{codec} gave back {len(decoded)} of {len(frames)} frames")
    return [plane_of(frame) for frame in decoded]
