"""Folders of photographs: listing, the split by file name, and studio luma."""

import hashlib
import pathlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.trainer_error import TrainerError

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VALIDATION_PERCENT = 6
MIN_SIDE = 64  # pixels of a photograph

Plane = NDArray[np.uint8]


def list_photos(folder: pathlib.Path) -> list[pathlib.Path]:
    """Photographs directly in `folder`, sorted by name. Raises TrainerError when there are none."""
    if not folder.is_dir():
        raise TrainerError(f"The data folder {str(folder)!r} does not exist. Give --data a folder of photographs.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise TrainerError(f"The data folder {str(folder)!r} holds no photograph ({', '.join(sorted(SUFFIXES))}).")
    return paths


def is_validation(path: pathlib.Path) -> bool:
    """Split by a hash of the file name: stable when photographs are added, and the same on every machine."""
    return int(hashlib.sha256(path.name.encode()).hexdigest(), 16) % 100 < VALIDATION_PERCENT


def split_photos(paths: list[pathlib.Path]) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """(training, validation), disjoint; together they are `paths`."""
    return [p for p in paths if not is_validation(p)], [p for p in paths if is_validation(p)]


def read_rgb(path: pathlib.Path) -> Plane:
    """uint8 (H, W, 3). Raises TrainerError when the file is not a readable picture."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises all three for broken files
        raise TrainerError(f"Cannot read the picture {str(path)!r}: {error}. Remove it from the folder.") from error


def read_photo(path: pathlib.Path) -> Plane:
    """`read_rgb` for training. Raises TrainerError for a picture that is too small to learn from, too."""
    rgb = read_rgb(path)
    if min(rgb.shape[:2]) < MIN_SIDE:
        raise TrainerError(f"The picture {str(path)!r} is {rgb.shape[1]}x{rgb.shape[0]}; training needs {MIN_SIDE} pixels a side.")
    return rgb


def luma_of(rgb: NDArray) -> NDArray[np.float64]:
    """BT.601 studio luma in 16..235, unrounded, of 8-bit RGB (..., 3). Source: ITU-R BT.601-7 section 2.5.3."""
    r, g, b = (rgb[..., i].astype(np.float64) for i in range(3))
    return 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255


def luma_codes(rgb: NDArray) -> Plane:
    """8-bit studio luma (H, W), as a decoder would hand it over."""
    return np.rint(luma_of(rgb)).astype(np.uint8)
