"""How well numbers agree with people: shares of majorities, rank correlations, and how sure either is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.metric.opinions import Choice, Rating

BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Share:
    """Share of human majorities predicted, in percent, with 95 % bootstrap intervals (by pairs; by contents, the honest one)."""

    percent: float
    count: int
    by_pairs: tuple[float, float]
    by_contents: tuple[float, float]

    def words(self) -> str:
        low, high = self.by_pairs
        return f"{self.percent:.1f} % ({low:.1f} to {high:.1f}; by content {self.by_contents[0]:.1f} to {self.by_contents[1]:.1f})"


def decided(choices: Sequence[Choice], *, without_original: bool = False) -> list[Choice]:
    """Choices within one content that have a majority."""
    return [c for c in choices if c.within and c.prefer_a != c.prefer_b and not (without_original and c.with_original)]


def predicted(choices: Sequence[Choice], scores: Mapping[str, float]) -> NDArray[np.float64]:
    """1 where the higher score is the majority's picture, 0 where it is not, a half for equal scores. Shape (choices,)."""
    hits = []
    for choice in choices:
        gap = scores[choice.image_a] - scores[choice.image_b]
        hits.append(0.5 if gap == 0 else float((gap > 0) == (choice.prefer_a > choice.prefer_b)))
    return np.array(hits)


def share_of(hits: NDArray[np.float64], contents: Sequence[str], *, seed: int = 0) -> Share:
    """Mean of `hits` with its intervals. contents: that of each hit."""
    rng = np.random.default_rng(seed)
    drawn = [hits[rng.integers(len(hits), size=len(hits))].mean() for _ in range(BOOTSTRAPS)]
    groups = [hits[np.array([c == name for c in contents])] for name in sorted(set(contents))]
    means = []
    for _ in range(BOOTSTRAPS):
        chosen = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        means.append(np.concatenate(chosen).mean())
    low, high = np.percentile(drawn, [2.5, 97.5]) * 100
    rough, fine = np.percentile(means, [2.5, 97.5]) * 100
    return Share(float(hits.mean() * 100), len(hits), (float(low), float(high)), (float(rough), float(fine)))


def majorities(choices: Sequence[Choice], scores: Mapping[str, float]) -> tuple[Share, Share]:
    """(all pairs, pairs without the original) of one content each. scores: higher is better."""
    found = []
    for without in (False, True):
        chosen = decided(choices, without_original=without)
        found.append(share_of(predicted(chosen, scores), [c.content_a for c in chosen]))
    return found[0], found[1]


def one_person(choices: Sequence[Choice]) -> tuple[float, float]:
    """How often one person agrees with the majority, in percent: all pairs, pairs without the original."""
    found = []
    for without in (False, True):
        chosen = decided(choices, without_original=without)
        found.append(100 * float(np.mean([max(c.prefer_a, c.prefer_b) / (c.prefer_a + c.prefer_b) for c in chosen])))
    return found[0], found[1]


def half_of_people(choices: Sequence[Choice], *, draws: int = 400, seed: int = 0) -> tuple[float, float]:
    """How often the majority of one random half of the people is that of the other half, in percent: a yardstick for a metric.

    No ceiling: the majority of all is surer than that of a half. The extra person of an odd number sits out; a half that is split evenly
    counts a half.
    """
    rng = np.random.default_rng(seed)
    found = []
    for without in (False, True):
        hits = []
        for c in decided(choices, without_original=without):
            half = (c.prefer_a + c.prefer_b) // 2
            first = rng.hypergeometric(c.prefer_a, c.prefer_b, half, size=draws)
            second = rng.hypergeometric(c.prefer_a - first, c.prefer_b - (half - first), half)
            sides = np.sign(first * 2 - half) * np.sign(second * 2 - half)
            hits.append(float(np.mean((sides + 1) / 2)))
        found.append(100 * float(np.mean(hits)))
    return found[0], found[1]


@dataclass(frozen=True)
class Correlation:
    """Agreement with scores: rank (SRCC, KRCC) and linear (PLCC, RMSE after a straight line)."""

    srcc: float
    plcc: float
    krcc: float
    rmse: float
    count: int


def correlation(ratings: Sequence[Rating], scores: Mapping[str, float]) -> dict[str, Correlation]:
    """One Correlation a scale: mixing scales would reward knowing the scale, without a look at the picture."""
    from scipy import stats

    found = {}
    for scale in sorted({rating.scale for rating in ratings}):
        mine = [r for r in ratings if r.scale == scale]
        people, metric = np.array([r.score for r in mine]), np.array([scores[r.picture] for r in mine])
        slope, offset = np.polyfit(metric, people, 1)
        rmse = float(np.sqrt(np.mean((slope * metric + offset - people) ** 2)))
        measures = (stats.spearmanr, stats.pearsonr, stats.kendalltau)
        srcc, plcc, krcc = (float(measure(people, metric).statistic) for measure in measures)
        found[scale] = Correlation(srcc, plcc, krcc, rmse, len(mine))
    return found
