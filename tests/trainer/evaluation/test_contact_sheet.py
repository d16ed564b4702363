"""The contact sheet shows the spot where methods differ, unsmoothed."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from trainer.evaluation.contact_sheet import ENLARGED, GAP, LINE, Sheet, spot
from trainer.trainer_error import TrainerError


def test_the_spot_is_where_the_methods_differ() -> None:
    one = np.full((90, 120), 100, np.uint8)
    other = one.copy()
    other[50:60, 80:90] = 200
    y, x = spot([one, one, other], 20)
    assert y <= 50 <= y + 10
    assert x <= 80 <= x + 10


def test_crops_stand_side_by_side_and_the_original_last(tmp_path: pathlib.Path) -> None:
    sheet = Sheet(side=8)
    levels = {"bicubic": 16, "net": 235}
    for item in ("a", "b"):
        sheet.add(item, {name: np.full((20, 24), code, np.uint8) for name, code in levels.items()}, np.full((20, 24), 125, np.uint8))
    sheet.save(tmp_path / "sheet.png")
    cell = 8 * ENLARGED
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (3 * (cell + GAP), 2 * (cell + LINE + GAP))
        row = [image.getpixel((column * (cell + GAP) + 5, LINE + 5)) for column in range(3)]
    assert row == [(0, 0, 0), (255, 255, 255), (127, 127, 127)]
    with pytest.raises(TrainerError, match="Cannot write the sheet"):
        sheet.save(tmp_path / "no" / "such.png")
