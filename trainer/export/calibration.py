"""Pictures for int8 calibration, degraded as the network's training pictures were."""

import pathlib

import numpy as np
from numpy.typing import NDArray

from trainer.data.pair_makers import pair_maker
from trainer.data.photos import list_photos, split_photos
from trainer.recipes import Degradation

SIDE = 96  # input pixels


def calibration_crops(data: pathlib.Path, *, degradation: Degradation, scale: int, count: int) -> list[NDArray[np.float32]]:
    """`count` crops (1, 1, SIDE, SIDE) in [0, 1] of the training photographs, spread evenly over the folder; fewer if it is small."""
    photos, _ = split_photos(list_photos(data))
    make = pair_maker("clean" if degradation == "colour" else degradation)  # planes of "colour" are red, green and blue
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
