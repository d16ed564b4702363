"""Pictures and runs for int8 calibration, degraded as the network's training pictures were."""

import pathlib

import numpy as np
from numpy.typing import NDArray

from trainer.data.codec import NUM_FRAMES
from trainer.data.pair_makers import pair_maker
from trainer.data.photos import Plane, list_photos, split_photos
from trainer.export.recurrent_int8 import Run
from trainer.recipes import Degradation
from trainer.trainer_error import TrainerError

SIDE = 96  # input pixels


def calibration_crops(data: pathlib.Path, *, degradation: Degradation, scale: int, count: int) -> list[NDArray[np.float32]]:
    """`count` crops (1, 1, SIDE, SIDE) in [0, 1] of the training photographs, spread evenly over the folder; fewer if it is small."""
    photos, _ = split_photos(list_photos(data))
    make = pair_maker(degradation if degradation in ("compressed", "picture") else "clean")  # those of "moving" are runs of frames
    rng = np.random.default_rng(1)
    crops = []
    for i in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int):
        pairs = make(photos[i], 77_000_000 + int(i), scale)
        _, versions = pairs[int(rng.integers(len(pairs)))]
        plane = versions[int(rng.integers(len(versions)))]
        if min(plane.shape) < SIDE:
            continue
        y, x = (int(rng.integers(n - SIDE + 1)) for n in plane.shape)
        crops.append(np.divide(plane[y : y + SIDE, x : x + SIDE], 255, dtype=np.float32)[None, None])
    return crops


def calibration_runs(data: pathlib.Path, *, degradation: Degradation, scale: int, count: int) -> tuple[list[Run], list[Run]]:
    """`count` runs of training photographs, to calibrate with, and a quarter as many of validation photographs, to measure with.

    SIDE input pixels a side, the versions (uncompressed, compressed) in turn. Raises TrainerError where a folder holds too few photographs.
    """
    parts = split_photos(list_photos(data))
    if not all(parts):
        raise TrainerError(f"{str(data)!r} needs photographs of training and of validation; it has {len(parts[0])} and {len(parts[1])}.")
    make = pair_maker(degradation)
    found = []
    for photos, wanted in zip(parts, (count, max(1, count // 4)), strict=True):
        runs = []
        for n, i in enumerate(np.linspace(0, len(photos) - 1, min(wanted, len(photos))).astype(int)):
            [(hr, versions)] = make(photos[i], 78_000_000 + int(i), scale)
            lr = versions[n % len(versions)]
            runs.append(Run(_middle(lr, SIDE), _middle(hr, scale * SIDE)))
        found.append(runs)
    return found[0], found[1]


def _middle(tall: Plane, side: int) -> list[Plane]:
    frames = tall.reshape(NUM_FRAMES, -1, tall.shape[1])
    y, x = ((n - side) // 2 for n in frames.shape[1:])
    return [np.ascontiguousarray(frame[y : y + side, x : x + side]) for frame in frames]
