"""A contact sheet: of every picture the spot where the methods differ most, enlarged, a row a picture, the original last."""

import pathlib
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from trainer.data.photos import Plane
from trainer.evaluation.scores import grey_picture
from trainer.trainer_error import TrainerError

SIDE = 72  # pixels of a crop
ENLARGED = 3  # times, by repetition: nothing is smoothed
LINE = 14  # pixels of a label
GAP = 4


class Sheet:
    """`add` what the methods made of a picture, then `save`."""

    def __init__(self, side: int = SIDE) -> None:
        self.side = side
        self._rows: list[tuple[str, dict[str, Plane]]] = []

    def add(self, item: str, made: Mapping[str, Plane], original: Plane) -> None:
        """made: luma planes (H, W) in studio codes by method, of the original's size; a method may be missing."""
        y, x = spot(list(made.values()), self.side)
        planes = dict(made) | {"original": original}
        # copies: a view would keep the whole picture
        self._rows.append((item, {name: plane[y : y + self.side, x : x + self.side].copy() for name, plane in planes.items()}))

    def save(self, path: pathlib.Path) -> None:
        """Write a picture. Raises TrainerError where the name or the place is wrong."""
        cell, label = self.side * ENLARGED, LINE
        columns = max((len(crops) for _, crops in self._rows), default=1)
        image = Image.new("RGB", (columns * (cell + GAP), max(1, len(self._rows)) * (cell + label + GAP)), "white")
        draw = ImageDraw.Draw(image)
        for row, (item, crops) in enumerate(self._rows):
            top = row * (cell + label + GAP)
            for column, (name, crop) in enumerate(crops.items()):
                left = column * (cell + GAP)
                draw.text((left + 2, top + 1), name if column else f"{item}: {name}", fill="black")
                shown = np.kron(grey_picture(crop), np.ones((ENLARGED, ENLARGED, 1), np.uint8))
                image.paste(Image.fromarray(shown), (left, top + label))
        try:
            image.save(path)
        except (OSError, ValueError) as error:
            raise TrainerError(f"Cannot write the sheet {str(path)!r}: {error}") from error


def spot(planes: list[Plane], side: int) -> tuple[int, int]:
    """(y, x) of the square of `side` pixels in which the planes differ most from each other."""
    spread = np.stack(planes).astype(np.float32).std(0)
    height, width = spread.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = spread.cumsum(0).cumsum(1)
    h, w = min(side, height), min(side, width)
    boxes = sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]
    y, x = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(y), int(x)
