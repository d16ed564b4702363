"""Pretraining on distorted photographs: the order of severities, and pseudo-labels. Nobody judged these pictures.

Two milder versions of the same distortion rank for certain; across distortions the order is that of the pseudo-labels where they are far
apart, and the score is drawn towards VMAF-NEG / 100. The encoder is frozen, so what it sees was computed once
(trainer.metric.feature_cache).
"""

import pathlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.checkpoint import read_state, write_state
from trainer.metric.distorted_set import Subject
from trainer.metric.feature_cache import Looks
from trainer.metric.learned_metric import Metric
from trainer.trainer_error import TrainerError

FORMAT = 1


@dataclass(frozen=True)
class PretrainRecipe:
    """What a pretraining run does; a checkpoint resumes only under the same recipe (but for the steps)."""

    steps: int = 200
    subjects: int = 1  # photographs a step, each with all its versions
    window: int = 12  # positions a side of the last stage that the network sees of each
    lr: float = 1e-3
    seed: int = 0
    regression: float = 1.0  # weight of the pseudo-labels' values beside their order
    sharpness: float = 8.0  # of the logistic ranking loss, per unit of -log(score)
    margin: float = 0.08  # least difference of pseudo-scores that orders two distortions


def pseudo_score(labels: dict[str, float]) -> float:
    """A pseudo-label on the metric's scale: VMAF-NEG / 100, within 0.02 .. 0.98."""
    return float(np.clip(labels["vmaf_neg"] / 100, 0.02, 0.98))


def ordered_pairs(subject: Subject, margin: float) -> tuple[Tensor, Tensor]:
    """(better, worse): indices of versions that rank for certain or by a clear margin of their pseudo-scores."""
    scores = [pseudo_score(version.pseudo) for version in subject.versions]
    pairs = []
    for i, a in enumerate(subject.versions):
        for j, b in enumerate(subject.versions):
            same = a.family == b.family
            if (same and a.severity < b.severity) or (not same and scores[i] > scores[j] + margin):
                pairs.append((i, j))
    better, worse = torch.tensor(pairs).T if pairs else torch.zeros(2, 0, dtype=torch.long)
    return better, worse


def pretraining_loss(energy: Tensor, subject: Subject, recipe: PretrainRecipe) -> Tensor:
    """Ranking and regression of one subject's versions. energy: -log(score), (V,)."""
    better, worse = ordered_pairs(subject, recipe.margin)
    loss = functional.softplus(recipe.sharpness * (energy[better] - energy[worse])).mean() if len(better) else energy.sum() * 0
    target = torch.tensor([pseudo_score(version.pseudo) for version in subject.versions], device=energy.device)
    return loss + recipe.regression * functional.smooth_l1_loss(torch.exp(-energy), target, beta=0.1)


def calibrate_norms(metric: Metric, looks: Sequence[Looks]) -> None:
    """Set the statistics of the network's batch norms once, from these groups; they stay as they are, in training too."""
    norms = [module for module in metric.network.streams.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over what follows
        norm.train()
    with torch.no_grad():
        for look in looks:
            sr, hr = look.sr.float().to(metric.weights.device), look.hr.float().to(metric.weights.device)
            metric.network.impression(sr, hr.expand(len(sr), -1, -1, -1))
    for norm in norms:
        norm.eval()


def pretrain(metric: Metric, subjects: Sequence[Subject], looks: Sequence[Looks], recipe: PretrainRecipe, out: pathlib.Path) -> Metric:
    """Train to `recipe.steps`, resuming from `out`/pretrained.ckpt. Raises TrainerError when the loss is no number any more."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    metric.network.encoder.requires_grad_(False)
    # the distances keep their even weights: drawn towards pseudo-labels they forget what people see (trainer/metric/README.md)
    metric.channels.requires_grad_(False)
    metric.weights.requires_grad_(False)
    parameters = [p for p in metric.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=recipe.lr)
    step, last, device = 0, out / "pretrained.ckpt", metric.weights.device
    if last.is_file():
        state = _load(last, recipe)
        metric.load_state_dict(state["metric"])
        optimiser.load_state_dict(state["optimiser"])
        rng.bit_generator.state, step = state["rng"], state["step"]
        torch.set_rng_state(state["torch_rng"])
        print(f"resumed {last} at step {step}", flush=True)
    else:
        metric.measure_units(torch.cat([look.terms for look in looks]).to(device))
        calibrate_norms(metric, [cut(looks[i], recipe.window, rng) for i in rng.permutation(len(looks))[:8]])
    metric.eval()
    began, losses = time.monotonic(), list[float]()
    while step < recipe.steps:
        loss = torch.zeros((), device=device)
        for index in rng.integers(len(subjects), size=recipe.subjects):
            look = cut(looks[index], recipe.window, rng)
            sr, hr = look.sr.float().to(device), look.hr.float().to(device).expand(len(look.sr), -1, -1, -1)
            energy = metric.corrected(metric.distance(look.terms.to(device)), metric.network.opinion(sr, hr))
            loss = loss + pretraining_loss(energy, subjects[index], recipe) / recipe.subjects
        if not torch.isfinite(loss):
            raise TrainerError(f"The loss is {float(loss.detach())} at step {step}. The last good checkpoint is {last}; lower --lr.")
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        step += 1
        losses.append(float(loss.detach()))
        if step % 20 == 0 or step == recipe.steps:
            rate = len(losses) / (time.monotonic() - began)
            print(f"pretrain {step}/{recipe.steps}  loss {np.mean(losses[-20:]):.4f}  {rate:.2f} steps/s", flush=True)
            _save(last, metric, optimiser, rng, step, recipe)
    return metric


def cut(look: Looks, window: int, rng: np.random.Generator) -> Looks:
    """The same random window of the last stage of a group's pictures; the terms stay those of the whole."""
    height, width = look.hr.shape[-2:]
    h, w = min(window, height), min(window, width)
    y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    at = (..., slice(y, y + h), slice(x, x + w))
    return Looks(look.terms, look.sr[at], look.hr[at], look.lpips, look.dists)


def _save(
    path: pathlib.Path, metric: Metric, optimiser: torch.optim.Optimizer, rng: np.random.Generator, step: int, recipe: PretrainRecipe
) -> None:
    state = {
        "format": FORMAT, "recipe": asdict(recipe), "step": step, "metric": metric.state_dict(), "optimiser": optimiser.state_dict(),
        "rng": rng.bit_generator.state, "torch_rng": torch.get_rng_state(),
    }  # fmt: skip
    write_state(path, state)


def _load(path: pathlib.Path, recipe: PretrainRecipe) -> dict[str, Any]:
    state = read_state(path, FORMAT, "the metric's pretraining")
    there = state["recipe"]
    changed = [key for key, value in asdict(recipe).items() if key != "steps" and there.get(key) != value]
    if changed:
        told = ", ".join(f"{key} {there.get(key)!r} there, {getattr(recipe, key)!r} here" for key in changed)
        raise TrainerError(f"{str(path)!r} belongs to another run ({told}). Use another --out.")
    return state
