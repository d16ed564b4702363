"""Fitting the metric to people's choices: a Bradley-Terry loss over the few weights that few opinions can set.

Six contents cannot teach a network of millions of weights, so what the encoder and the streams see is fixed (computed once), and only the
linear judge on top is fitted, drawn to zero, or to what it was where a fit goes on. How hard is chosen inside the training contents
alone, by leaving each of them out in turn. Several networks are fitted one by one, and the means of their -log(score) and of their
sharpness count (trainer.metric.ensemble).

Note [Middle]
    Impressions share a common part seven times as long as their differences. Fitted as they are, the judge's weights would move along it
    first, and some fits overflow. So the judge is fitted to impressions less their mean over the training pictures, in float64, and the
    mean goes into its bias afterwards.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainer.metric.learned_metric import Metric
from trainer.metric.opinions import Choice, Opinions, Rating, folds

Pull = float | None  # how hard the judge is drawn to where it begins; None: it stays there


@dataclass(frozen=True)
class Seen:
    """Everything that a fit needs of the pictures: terms (P, K), impressions (P, 256) of one network, and the row of each file name."""

    terms: Tensor
    impressions: Tensor
    row: Mapping[str, int]


@dataclass(frozen=True)
class Juror:
    """A pretrained metric, what it has seen, and the judges that were fitted to it: no fit is done twice.

    goes_on: fits begin at the judge that the metric has, and are drawn to it; else at zero.
    """

    metric: Metric
    seen: Seen
    goes_on: bool = False
    judges: dict[tuple[Pull, tuple[str, ...]], "Judge"] = field(default_factory=dict)

    def judge(self, opinions: Opinions, contents: Sequence[str], pull: Pull, worse: Sequence[Choice] = ()) -> "Judge":
        """Fitted to the opinions on these contents, always of one table, and to `worse`, which no fold leaves out."""
        key = pull, tuple(contents)
        if key not in self.judges:
            mine = opinions.of(contents)
            self.judges[key] = fit(self, replace(mine, choices=[*mine.choices, *worse]), pull)
        return self.judges[key]

    def energies(self) -> Tensor:
        """-log(score) of every picture, by the metric as it is: (P,)."""
        with torch.no_grad():
            opinion = self.metric.network.judge(self.seen.impressions).squeeze(1)
            return self.metric.corrected(self.metric.distance(self.seen.terms), opinion)


def scores_of(energy: Tensor, row: Mapping[str, int]) -> dict[str, float]:
    """Each picture's score, by file name. energy: -log(score), (P,)."""
    values = torch.exp(-energy.detach().double())
    return {name: float(values[at]) for name, at in row.items()}


def bradley_terry(energy: Tensor, choices: Sequence[Choice], row: Mapping[str, int], sharpness: Tensor) -> Tensor:
    """Mean over choices of the cross-entropy between the share of people and logistic(sharpness x difference of energies).

    Source: Bradley and Terry 1952, doi:10.2307/2334029.
    """
    a, b = (torch.tensor([row[name] for name in names]) for names in zip(*((c.image_a, c.image_b) for c in choices), strict=True))
    share = torch.tensor([c.prefer_a / (c.prefer_a + c.prefer_b) for c in choices], dtype=energy.dtype)
    return functional.binary_cross_entropy_with_logits(sharpness * (energy[b] - energy[a]), share)


def regression(energy: Tensor, ratings: Sequence[Rating], row: Mapping[str, int]) -> Tensor:
    """Mean over scales of the squared error to people's scores after the best straight line, as a share of their variance: 1 - r |r|.

    r is the linear correlation of the metric's scores with people's, within one scale; a metric that points the wrong way costs up to 2.
    """
    scores = torch.exp(-energy)
    losses = []
    for scale in sorted({rating.scale for rating in ratings}):
        mine = [rating for rating in ratings if rating.scale == scale]
        x = scores[torch.tensor([row[rating.picture] for rating in mine])]
        y = torch.tensor([rating.score for rating in mine], dtype=x.dtype)
        x, y = x - x.mean(), y - y.mean()
        r = (x * y).sum() / (x.square().sum() * y.square().sum()).clamp_min(1e-12).sqrt()
        losses.append(1 - r * r.abs())
    return torch.stack(losses).mean()


def opinion_loss(energy: Tensor, opinions: Opinions, row: Mapping[str, int], sharpness: Tensor) -> Tensor:
    """Bradley-Terry for choices plus regression for ratings, whichever there are."""
    loss = torch.zeros((), dtype=energy.dtype)
    if opinions.choices:
        loss = loss + bradley_terry(energy, opinions.choices, row, sharpness)
    if opinions.ratings:
        loss = loss + regression(energy, opinions.ratings, row)
    return loss


@dataclass(frozen=True)
class Judge:
    """Weights of a network's judge, (256,) and (), and the sharpness of people's choices that goes with them. float64."""

    weight: Tensor
    bias: Tensor
    sharpness: float

    def energies(self, juror: Juror) -> Tensor:
        """-log(score) of every picture by this judge: (P,)."""
        opinion = juror.seen.impressions.double() @ self.weight + self.bias
        return juror.metric.corrected(juror.metric.distance(juror.seen.terms).detach().double(), opinion)

    def seated(self, metric: Metric) -> Metric:
        """A copy of the metric with this judge."""
        copied = copy.deepcopy(metric)
        with torch.no_grad():
            copied.network.judge.weight.copy_(self.weight[None])
            copied.network.judge.bias.copy_(self.bias)
        return copied


def fit(juror: Juror, opinions: Opinions, pull: Pull, *, steps: int = 60) -> Judge:
    """The judge that explains the opinions, drawn to where it begins. The distance and the scale of scores stay as they are."""
    seen, metric = juror.seen, juror.metric
    distance = metric.distance(seen.terms).detach().double()
    impressions = seen.impressions.double()
    middle = impressions[[seen.row[name] for name in opinions.pictures]].mean(0)
    around = impressions - middle  # Note [Middle]
    begun = metric.network.judge
    first = (begun.weight[0].detach().double(), begun.bias[0].detach().double()) if juror.goes_on else (torch.zeros_like(middle), 0.0)
    before = impressions @ first[0] + first[1]
    weight, bias = torch.zeros_like(middle), torch.zeros((), dtype=torch.float64)  # what changes
    log_sharpness = torch.tensor(1.5, dtype=torch.float64)
    free = [log_sharpness] if pull is None else [log_sharpness, weight, bias]
    for p in free:
        p.requires_grad_(True)
    optimiser = torch.optim.LBFGS(free, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        energy = metric.corrected(distance, before + around @ weight + bias)
        # the term of the sharpness alone keeps its slope where there are ratings and no choices
        loss = opinion_loss(energy, opinions, seen.row, log_sharpness.exp()) + 1e-4 * (log_sharpness - 1.5).square()
        if pull is not None:
            loss = loss + pull * (weight.square().sum() + bias.square())
        loss.backward()
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    weight, bias = weight.detach(), bias.detach()
    return Judge(first[0] + weight, first[1] + bias - weight @ middle, float(log_sharpness.detach().exp()))


class Fits:
    """What a jury says after fits to parts of the opinions."""

    def __init__(self, jurors: Sequence[Juror], opinions: Opinions, worse: Sequence[Choice] = ()) -> None:
        self.jurors, self.opinions, self.worse = jurors, opinions, worse
        self.row = jurors[0].seen.row

    def energy(self, contents: Sequence[str], pull: Pull) -> tuple[Tensor, float]:
        """(-log(score) of every picture (P,), sharpness) after fits to these contents: the geometric means over the jurors."""
        judges = [juror.judge(self.opinions, contents, pull, self.worse) for juror in self.jurors]
        logs = [judge.energies(juror).clamp_min(1e-12).log() for judge, juror in zip(judges, self.jurors, strict=True)]
        return torch.stack(logs).mean(0).exp(), float(np.exp(np.mean([np.log(judge.sharpness) for judge in judges])))

    def choose_pull(self, contents: Sequence[str], candidates: Sequence[Pull]) -> Pull:
        """The candidate under which contents left out of *these* are best explained (mean loss)."""
        if len(candidates) == 1:
            return candidates[0]
        losses = []
        for pull in candidates:
            total = []
            for training, out in folds(contents):
                energy, sharpness = self.energy(training, pull)
                total.append(float(opinion_loss(energy, self.opinions.of(out), self.row, torch.tensor(sharpness))))
            losses.append(float(np.mean(total)))
        return candidates[int(np.argmin(losses))]

    def leave_one_out(self, candidates: Sequence[Pull], *, count: int | None = None) -> tuple[dict[str, float], dict[str, Pull]]:
        """Scores of every picture by a jury that was fitted without its content, and each fold's pull (by its first content).

        count: of folds; by default one a content.
        """
        scores: dict[str, float] = {}
        chosen: dict[str, Pull] = {}
        for training, out in folds(self.opinions.contents, count):
            pull = self.choose_pull(training, candidates)
            mine = self.opinions.of(out).pictures
            energy, _ = self.energy(training, pull)
            scores |= {name: value for name, value in scores_of(energy, self.row).items() if name in mine}
            chosen[out[0]] = pull
        return scores, chosen
