"""An attack on the metric: a small network is trained to raise the score, and its results are kept as worse than what it started from.

A metric that is a loss is what the network looks for holes in. So it is attacked before it steers: `python -m trainer attack`, then
`python -m trainer metric --worse RUN`, and again with a fresh attacker, until its score rises no more than measures that it was not
trained on confirm (README.md beside this).

RUN/images, RUN/pairs.csv   originals, results before and after, and the choice: before, where another measure says so too
RUN/last.ckpt               the attacker, as a stage
RUN/report.json             means before and after over held-out scenes
"""

import csv
import pathlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from streamsr.report_file import write_report
from trainer.data.scene_crops import cut
from trainer.data.scene_pool import Scene
from trainer.losses.picture_loss import SIDE, Score, rgb_of
from trainer.metric.encoder import open_encoder
from trainer.metric.feature_distance import dists, lpips
from trainer.nets.luma_chroma import split
from trainer.stage_loop import build, train
from trainer.stages import of_single_frames, stage_named

KEPT_SIDE = 112  # input pixels of a kept picture
ATTACKER = of_single_frames(stage_named("lite_x2"))
WAYS = (1, 3)  # of each kept scene, where it has so many, both damaged
PEOPLE = 31  # of so many, all prefer the picture before


@dataclass(frozen=True)
class AttackOptions:
    """weight: of the metric beside the fidelity loss. kept: scenes whose results become pairs."""

    steps: int = 600
    weight: float = 0.15
    lr: float = 2e-3
    batch: int = 2
    kept: int = 60
    seed: int = 7


@dataclass(frozen=True)
class Means:
    """Over held-out pictures. score: of the attacked metric; dists, lpips (lower is better), psnr_y and grid: never part of the loss."""

    score: float
    dists: float
    lpips: float
    psnr_y: float
    grid: float


def attack(
    score: Score, weights: dict[str, Tensor], training: list[Scene], validation: list[Scene], run: pathlib.Path, options: AttackOptions
) -> tuple[Means, Means]:
    """Train from the weights of a `lite` at x2, write RUN, and return the means before and after. A run that was stopped goes on."""
    stage = replace(
        ATTACKER, name="attacker", steps=options.steps, crop=SIDE // 2, batch=options.batch, lr=options.lr, warmup=50,
        decay=0.3, ema=0.0, pban_weight=options.weight, num_seen=options.batch, seed=options.seed,
    )  # fmt: skip
    before = build(stage).eval()
    before.load_state_dict(weights)
    after = train(stage, training, validation, run, seed_weights=weights, score=score)
    means = means_of(score, before, validation), means_of(score, after, validation)
    _keep(before, after, training[:: max(1, len(training) // options.kept)][: options.kept], run)
    write_report(run / "report.json", {"options": asdict(options), "before": asdict(means[0]), "after": asdict(means[1])})
    return means


@torch.no_grad()
def means_of(score: Score, net: nn.Module, scenes: Sequence[Scene], *, count: int = 24) -> Means:
    """Means over some held-out scenes, damaged."""
    encoder = open_encoder("efficientnet_lite0").eval()
    rows = []
    for scene in scenes[:count]:
        for way in _ways(scene):
            target, made = _planes(scene, way, net)
            sr, hr = rgb_of(made, 2).clamp(0, 1), rgb_of(target, 2).clamp(0, 1)
            luma, original = (split(planes, 2)[0][0, 0].mul(255).round() for planes in (made, target))
            error = float((luma - original).square().mean())
            a, b = encoder(sr), encoder(hr)
            rows.append([float(score(sr, hr)), float(dists(a, b)), float(lpips(a, b)), 10 * np.log10(255**2 / max(error, 1e-3)),
                         grid_of(luma.numpy()) - grid_of(original.numpy())])  # fmt: skip
    return Means(*(float(value) for value in np.mean(rows, 0)))


def grid_of(luma_HW: np.ndarray) -> float:
    """Codes of a regular pattern of two pixels: RMS over windows of 16 pixels of the mean differences between the four phases."""
    a, b, c, d = (luma_HW[i::2, j::2].astype(np.float64) for i in (0, 1) for j in (0, 1))
    # second differences: a slope in the picture cancels, an alternation does not
    patterns = (a[:, 1:] + a[:, :-1] - 2 * b[:, :-1], a[1:] + a[:-1] - 2 * c[:-1], a[1:, 1:] + a[:-1, :-1] - 2 * d[:-1, :-1])
    means = []
    for pattern in patterns:
        rows, columns = (side // 8 for side in pattern.shape)
        means.append(pattern[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8).mean((1, 3)) / 2)
    return float(np.sqrt(np.mean([np.square(mean).mean() for mean in means])))


def _ways(scene: Scene) -> list[int]:
    return [way for way in WAYS if way < len(scene.ly)]


@torch.no_grad()
def _planes(scene: Scene, way: int, *nets: nn.Module) -> list[Tensor]:
    """The original, and what each network makes of it."""
    x, y = (torch.from_numpy(part)[None] for part in cut(scene, way, 0, 2, 16, 16, KEPT_SIDE, ATTACKER.chroma_filter))
    return [y, *(net(x).clamp(0, 1) for net in nets)]


def _keep(before: nn.Module, after: nn.Module, scenes: Sequence[Scene], run: pathlib.Path) -> None:
    """Write the pairs that `opinions` reads: those which the plain feature distance, never part of the loss, also calls worse."""
    encoder = open_encoder("efficientnet_lite0").eval()
    images = run / "images"
    images.mkdir(parents=True, exist_ok=True)

    def save(picture: Tensor, name: str) -> str:
        Image.fromarray(picture[0].mul(255).round().byte().permute(1, 2, 0).numpy()).save(images / name)
        return name

    with open(run / "pairs.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image_a", "image_b", "prefer_a", "prefer_b"))
        for number, scene in enumerate(scenes):
            for way in _ways(scene):
                content = f"{run.name}-{number}-{way}"
                pictures = [rgb_of(planes, 2).clamp(0, 1) for planes in _planes(scene, way, before, after)]
                original, *features = (encoder(picture) for picture in pictures)
                if lpips(features[1], original) <= lpips(features[0], original):
                    continue
                kinds = ("original", "before", "after")
                names = [save(picture, f"{content}_{kind}.png") for picture, kind in zip(pictures, kinds, strict=True)]
                table.writerow((*names[1:], PEOPLE, 0))
