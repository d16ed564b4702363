"""Fitting the metric to people's choices: a Bradley-Terry loss over the few weights that few opinions can set.

Six contents cannot teach a network of millions of weights, so what the encoder and the streams see is fixed (computed once), and the
weights on top are drawn towards where they started: the distances' weights, the channels' and the judge's. How hard is chosen inside the
training contents alone, by leaving each of them out in turn.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.metric.metric import Metric
from trainer.metric.opinions import Choice, Opinions, Rating, folds


@dataclass(frozen=True)
class Pull:
    """How hard each kind of weight is drawn to where it started; None: it stays there."""

    weights: float | None = 1e-2
    channels: float | None = None
    judge: float | None = None

    def words(self) -> str:
        return ", ".join(f"{name} {'fixed' if value is None else value}" for name, value in vars(self).items())


@dataclass(frozen=True)
class Seen:
    """Everything that a fit needs of the pictures: terms (P, K), impressions (P, 256), and the row of each file name."""

    terms: Tensor
    impressions: Tensor
    row: Mapping[str, int]


def energies(metric: Metric, seen: Seen) -> Tensor:
    """-log(score) of every picture: (P,)."""
    return metric.corrected(metric.distance(seen.terms), metric.network.judge(seen.impressions).squeeze(1))


def scores_of(metric: Metric, seen: Seen) -> dict[str, float]:
    """Each picture's score, by file name."""
    with torch.no_grad():
        values = torch.exp(-energies(metric, seen).double())
    return {name: float(values[row]) for name, row in seen.row.items()}


def bradley_terry(energy: Tensor, choices: Sequence[Choice], seen: Seen, sharpness: Tensor) -> Tensor:
    """Mean over choices of the cross-entropy between the share of people and logistic(sharpness x difference of energies).

    Source: Bradley and Terry 1952, doi:10.2307/2334029.
    """
    a, b = (torch.tensor([seen.row[name] for name in names]) for names in zip(*((c.image_a, c.image_b) for c in choices), strict=True))
    share = torch.tensor([c.prefer_a / (c.prefer_a + c.prefer_b) for c in choices])
    return functional.binary_cross_entropy_with_logits(sharpness * (energy[b] - energy[a]), share)


def regression(energy: Tensor, ratings: Sequence[Rating], seen: Seen) -> Tensor:
    """Mean over scales of the squared error to people's scores after the best straight line, as a share of their variance: 1 - r |r|.

    r is the linear correlation of the metric's scores with people's, within one scale; a metric that points the wrong way costs up to 2.
    """
    scores = torch.exp(-energy)
    losses = []
    for scale in sorted({rating.scale for rating in ratings}):
        mine = [rating for rating in ratings if rating.scale == scale]
        x = scores[torch.tensor([seen.row[rating.picture] for rating in mine])]
        y = torch.tensor([rating.score for rating in mine], dtype=x.dtype)
        x, y = x - x.mean(), y - y.mean()
        r = (x * y).sum() / (x.square().sum() * y.square().sum()).clamp_min(1e-12).sqrt()
        losses.append(1 - r * r.abs())
    return torch.stack(losses).mean()


def opinion_loss(energy: Tensor, opinions: Opinions, seen: Seen, sharpness: Tensor) -> Tensor:
    """Bradley-Terry for choices plus regression for ratings, whichever there are."""
    loss = torch.zeros(())
    if opinions.choices:
        loss = loss + bradley_terry(energy, opinions.choices, seen, sharpness)
    if opinions.ratings:
        loss = loss + regression(energy, opinions.ratings, seen)
    return loss


def fit(metric: Metric, seen: Seen, opinions: Opinions, pull: Pull, *, steps: int = 60) -> tuple[Metric, float]:
    """A copy of the metric fitted to the opinions, and the sharpness that goes with it. The scale of scores is left as it was."""
    fitted = copy.deepcopy(metric)
    fitted.requires_grad_(False)
    log_sharpness = torch.tensor(1.5, requires_grad=True)
    free = [(p, getattr(pull, name)) for name, p in _kinds(fitted) if getattr(pull, name) is not None]
    start = [p.detach().clone() for p, _ in free]
    for p, _ in free:
        p.requires_grad_(True)
    optimiser = torch.optim.LBFGS([log_sharpness, *(p for p, _ in free)], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        # the term of the sharpness alone keeps its slope where there are ratings and no choices
        loss = opinion_loss(energies(fitted, seen), opinions, seen, log_sharpness.exp()) + 1e-4 * (log_sharpness - 1.5).square()
        loss = loss + sum((strength * (p - p0).square().sum() for (p, strength), p0 in zip(free, start, strict=True)), torch.zeros(()))
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    fitted.requires_grad_(False)
    return fitted, float(log_sharpness.detach().exp())


def _kinds(metric: Metric) -> list[tuple[str, Tensor]]:
    judge = [("judge", p) for p in metric.network.judge.parameters()]
    return [("weights", metric.weights), ("channels", metric.channels), *judge]


def choose_pull(metric: Metric, seen: Seen, opinions: Opinions, candidates: Sequence[Pull]) -> Pull:
    """The candidate under which contents left out of *these* opinions are best explained (mean loss)."""
    losses = []
    for pull in candidates:
        total = []
        for training, out in folds(opinions.contents):
            fitted, sharpness = fit(metric, seen, opinions.of(training), pull)
            with torch.no_grad():
                total.append(float(opinion_loss(energies(fitted, seen), opinions.of(out), seen, torch.tensor(sharpness))))
        losses.append(float(np.mean(total)))
    return candidates[int(np.argmin(losses))]


def leave_one_out(
    metric: Metric, seen: Seen, opinions: Opinions, candidates: Sequence[Pull], *, count: int | None = None
) -> tuple[dict[str, float], dict[str, Pull]]:
    """Scores of every picture by a metric that was fitted without its content, and the pull chosen for each fold (by its first content).

    count: of folds; by default one a content.
    """
    scores: dict[str, float] = {}
    chosen: dict[str, Pull] = {}
    for training, out in folds(opinions.contents, count):
        known = opinions.of(training)
        pull = choose_pull(metric, seen, known, candidates) if len(candidates) > 1 else candidates[0]
        fitted, _ = fit(metric, seen, known, pull)
        mine = opinions.of(out).pictures
        scores |= {name: value for name, value in scores_of(fitted, seen).items() if name in mine}
        chosen[out[0]] = pull
    return scores, chosen
