"""`python -m trainer score`: what a metric says of the pictures of a table, beside what people said of them."""

import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from streamsr.compare.pban import PbanScorer
from trainer.data.photos import read_rgb
from trainer.metric.experiment import load_metric, report_of
from trainer.metric.opinions import read_opinions
from trainer.trainer_error import TrainerError

Scorer = Callable[[np.ndarray, np.ndarray], float]


def score_table(table: pathlib.Path, images: pathlib.Path, metric: str) -> dict[str, Any]:
    """The report of one measure, as `table_of` prints it, with every picture's score. Raises TrainerError."""
    opinions = read_opinions(table, images)
    score = open_scorer(metric)
    scores = {}
    for picture, original in sorted(opinions.pictures.items()):
        sr, hr = (read_rgb(opinions.path(name)) for name in (picture, original))
        try:
            scores[picture] = score(sr, hr)
        except ValueError as error:
            raise TrainerError(f"{picture!r} beside {original!r}: {error}") from error
    name = "Efficient-PBAN" if metric == "shipped" else metric
    return report_of(opinions, {name: scores}) | {"scores": scores}


def open_scorer(metric: str) -> Scorer:
    """(result, original), RGB (H, W, 3) uint8 -> score. The shipped one runs without torch."""
    if metric == "shipped":
        return PbanScorer()
    import torch

    jury = load_metric(pathlib.Path(metric))

    def score(sr: np.ndarray, hr: np.ndarray) -> float:
        pictures = [torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255 for rgb in (sr, hr)]
        with torch.no_grad():
            return float(jury(*pictures))

    return score
