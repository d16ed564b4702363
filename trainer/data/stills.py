"""Single pictures: square pieces of photographs, smaller as video or pictures come, none moving."""

import pathlib

import numpy as np
from PIL import Image

from trainer.data.degrade import KERNEL_WEIGHTS, PICTURE_KERNEL_WEIGHTS, Kernel, crop_to_multiple, downscale_rgb, jpeg_luma
from trainer.data.footage import read_still
from trainer.data.pair_cache import Pair
from trainer.data.photos import Plane, luma_codes

PIECE = 640  # pixels a side of a clean target, at most
NUM_SOFT, SOFT = 3, (1.15, 2.2)  # enlarged pieces of a photograph, and by how much
NUM_SHARP, SOFTER = 2, (1.05, 1.5)  # pieces of a picture as sharp as it comes, and by how much the one more is enlarged
NUM_JPEG, JPEG_QUALITY = 2, (75, 95)  # versions of them, beside those of PICTURE_KERNEL_WEIGHTS; Pillow's number


def clean_pairs(path: pathlib.Path, seed: int, scale: int) -> list[Pair]:
    """Square pieces of a photograph (of a video: of one frame), each through every downscaling kernel.

    One is as sharp as it comes (large photographs at 0.6 of their size), three are enlarged, as soft as most video is: a network that saw
    sharp photographs alone gained 0.3 dB less on video.
    """
    image, rng, sharp = _opened(path, seed)
    factors = [sharp, *np.exp(rng.uniform(np.log(SOFT[0]), np.log(SOFT[1]), NUM_SOFT))]
    return [_shrunk(_piece(image, factor, rng, scale), scale, KERNEL_WEIGHTS) for factor in factors]


def picture_pairs(path: pathlib.Path, seed: int, scale: int) -> list[Pair]:
    """Square pieces of a picture as pictures are found: two as sharp as they come, one a little soft; Pillow's bicubic most (what the
    published protocols measure), one version in four a JPEG file.
    """
    image, rng, sharp = _opened(path, seed)
    pairs = []
    for factor in (*[sharp] * NUM_SHARP, float(rng.uniform(*SOFTER))):
        picture = _piece(image, factor, rng, scale)
        target, versions = _shrunk(picture, scale, PICTURE_KERNEL_WEIGHTS)
        coded = jpeg_luma(picture, scale=scale, quality=int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))
        pairs.append((target, [*versions, *[coded] * NUM_JPEG]))
    return pairs


def _opened(path: pathlib.Path, seed: int) -> tuple[Image.Image, np.random.Generator, float]:
    """The picture, what draws for it, and the size at which it is sharp."""
    image = Image.fromarray(read_still(path, seed))
    return image, np.random.default_rng(seed), 0.6 if image.width * image.height > 900_000 else 1.0


def _piece(image: Image.Image, factor: float, rng: np.random.Generator, scale: int) -> Plane:
    """A square of at most PIECE pixels a side of the picture at `factor` of its size, from anywhere in it: uint8 (H, W, 3)."""
    side = int(min(PIECE / factor, image.width, image.height))
    x, y = (int(rng.integers(length - side + 1)) for length in image.size)
    size = int(side * factor)
    kernel = Image.Resampling.LANCZOS if factor < 1 or rng.random() < 0.5 else Image.Resampling.BICUBIC
    return crop_to_multiple(np.asarray(image.crop((x, y, x + side, y + side)).resize((size, size), kernel)), 2 * scale)


def _shrunk(picture: Plane, scale: int, weights: dict[Kernel, int]) -> Pair:
    """Its luma, and that through every kernel, as often as `weights` says."""
    versions: list[Plane] = []
    for name, weight in weights.items():
        versions += [downscale_rgb(picture, scale=scale, kernel=name)] * weight
    return luma_codes(picture), versions
