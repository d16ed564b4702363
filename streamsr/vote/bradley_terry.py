"""Bradley-Terry: one number a method from choices between two, such that P(a before b) = 1 / (1 + exp(score_b - score_a)).

Source: Bradley and Terry 1952, doi:10.2307/2334029. Fitted by Newton's method to the likelihood with a weak prior (a normal distribution
of SPREAD around 0), without which a method that always wins would be infinitely good.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SPREAD = 3.0  # in log-odds: 95 of 100 against the average is within it
_STEPS = 50


@dataclass(frozen=True, slots=True)
class Score:
    """Log-odds against the average method, with its 95 % interval, and in how many comparisons it stood."""

    value: float
    low: float
    high: float
    num_votes: int


def fit_scores(wins: Mapping[tuple[str, str], int]) -> dict[str, Score]:
    """wins: (winner, loser): how often. The best first; scores add up to 0."""
    names = sorted({name for pair in wins for name in pair})
    at = {name: i for i, name in enumerate(names)}
    won = np.zeros((len(names), len(names)))
    for (winner, loser), count in wins.items():
        won[at[winner], at[loser]] += count
    games = won + won.T
    score = np.zeros(len(names))
    hessian = np.eye(len(names))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(score[None] - score[:, None]))  # that the row wins
        slope = (won - games * chance).sum(1) - score / SPREAD**2
        weight = games * chance * (1 - chance)
        hessian = np.diag(weight.sum(1) + 1 / SPREAD**2) - weight
        step = np.linalg.solve(hessian, slope)
        score += step
        if np.abs(step).max() < 1e-10:
            break
    # of the score less the mean of all: what the prior says of the common level does not count
    centre = np.eye(len(names)) - 1 / len(names)
    covariance = centre @ np.linalg.inv(hessian) @ centre
    margin = 1.96 * np.sqrt(np.diag(covariance))
    score -= score.mean()
    order = np.argsort(-score, kind="stable")
    return {names[i]: Score(float(score[i]), float(score[i] - margin[i]), float(score[i] + margin[i]), int(games[i].sum())) for i in order}
