"""From votes to a better metric: simulated voters of a known taste, refined on, and scored on contents that were left out."""

from __future__ import annotations

import csv
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from trainer.metric.experiment import load_metric
from trainer.metric.refine import AFTER, BEFORE, refine
from trainer.metric.table_score import score_table
from trainer.trainer_error import TrainerError

pytest.importorskip("onnxruntime")
METHODS = ("blur1", "blur2", "sharp1", "sharp2")
TASTE = {"sharp1": 2.0, "blur1": 0.5, "sharp2": -0.5, "blur2": -2.0}  # likes it a little crisp: the metric, as it ships, likes it soft
SIDE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Six contents of shapes and textures in four ways, and votes.csv: what thirty people of that taste say of each pair."""
    folder = tmp_path_factory.mktemp("votes")
    rng = np.random.default_rng(5)
    rows = []
    for number in range(6):
        y, x = np.mgrid[:SIDE, :SIDE] / SIDE
        waves = sum(np.sin(rng.uniform(5, 60) * (x * np.cos(a) + y * np.sin(a)) + a) for a in rng.uniform(0, 6, 6))
        shapes = (np.hypot(x - rng.random(), y - rng.random()) < 0.3) * 60.0
        grey = 120 + 18 * waves + shapes + rng.normal(0, 6, (SIDE, SIDE))
        original = Image.fromarray(np.clip(np.stack([grey, grey * 0.9, grey * 0.8], 2), 0, 255).astype(np.uint8))
        original.save(folder / f"c{number}_original.png")
        for method in METHODS:
            strength = int(method[-1])
            made = ImageFilter.GaussianBlur(0.6 * strength) if method.startswith("blur") else ImageFilter.UnsharpMask(1, 90 * strength, 0)
            original.filter(made).save(folder / f"c{number}_{method}.png")
        for i, a in enumerate(METHODS):
            for b in METHODS[i + 1 :]:
                votes = int(rng.binomial(30, 1 / (1 + np.exp(TASTE[b] - TASTE[a]))))
                name = f"c{number}_original.png"
                rows.append([f"c{number}_{a}.png", f"c{number}_{b}.png", votes, 30 - votes, name, name])
    with (folder / "votes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image_a", "image_b", "prefer_a", "prefer_b", "original_a", "original_b"], *rows])
    return folder


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two threads of torch for work this small wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def report(folder: pathlib.Path) -> dict:  # type: ignore[type-arg]
    return refine("shipped", folder / "votes.csv", folder, folder / "mine", folder / "cache", folds=3, candidates=(0.0003,))


@pytest.mark.slow
def test_a_refined_metric_agrees_more_on_contents_that_it_has_not_seen(report: dict) -> None:  # type: ignore[type-arg]
    before, after = (report["measures"][name]["without_original"]["percent"] for name in (BEFORE, AFTER))
    print(f"majorities on left-out contents: {before:.0f} % before, {after:.0f} % after")
    assert after >= before + 5
    assert after > 70


@pytest.mark.slow
def test_the_refined_metric_is_one_like_others(report: dict, folder: pathlib.Path) -> None:  # type: ignore[type-arg]
    assert len(load_metric(folder / "mine").jurors) == 4
    scored = score_table(folder / "votes.csv", folder, str(folder / "mine"))
    assert scored["measures"][str(folder / "mine")]["all"]["percent"] >= report["measures"][AFTER]["all"]["percent"]


@pytest.mark.slow
def test_the_shipped_metric_scores_as_its_torch_form_does(report: dict, folder: pathlib.Path) -> None:  # type: ignore[type-arg]
    scored = score_table(folder / "votes.csv", folder, "shipped")
    assert scored["measures"]["Efficient-PBAN"]["all"]["percent"] == pytest.approx(report["measures"][BEFORE]["all"]["percent"])


def test_score_prints_four_correlations_of_a_list_of_scores(folder: pathlib.Path) -> None:
    table = folder / "list.txt"
    table.write_text("".join(f"c{n}_{m}.png#{4 - i + n / 10}#c{n}_original.png\n" for n in range(2) for i, m in enumerate(METHODS)))
    command = [sys.executable, "-m", "trainer", "score", str(table), "--images", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads(done.stdout)["measures"]["Efficient-PBAN"]["ratings"].values()
    assert {"srcc", "plcc", "krcc", "rmse"} <= set(entry)
    assert -1 <= entry["srcc"] <= 1


def test_what_cannot_be_refined_is_said(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match="There is no metric"):
        refine(str(tmp_path / "none"), folder / "votes.csv", folder, tmp_path, tmp_path)
    with pytest.raises(TrainerError, match="does not exist"):
        refine("shipped", folder / "votes.csv", tmp_path / "none", tmp_path, tmp_path)
    with pytest.raises(TrainerError, match="'distances' has no opinion to refine"):
        refine("distances", folder / "votes.csv", folder, tmp_path, tmp_path)
