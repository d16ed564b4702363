"""Results of a vote: scores of the methods, how far voters agree, which voters were careful, and how often the metric agrees."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from .bradley_terry import Score, fit_scores
from .store import RUINED, Vote, by_voter, count_pairs

_TRAPS, _TRAP_SHARE = 2, 0.75  # so many traps and more tell, and so large a share has to be seen
_CHANCE = 0.05  # so rarely would somebody who has no preference at all contradict themself as often: they always say one side


@dataclass(frozen=True, slots=True)
class Voter:
    """Evidence of how careful a voter is."""

    name: str
    num_votes: int
    num_traps: int
    num_seen: int  # traps in which the ruined picture was not chosen
    num_repeats: int
    num_same: int  # repeats with the answer of before
    median_s: float

    @property
    def is_careful(self) -> bool:
        """False for a voter who prefers degraded pictures, or chooses by side rather than by picture.

        Close pairs are judged one way and the other by careful people too, so contradictions alone, in half of the repeats, prove nothing.
        """
        trapped = self.num_traps >= _TRAPS and self.num_seen < _TRAP_SHARE * self.num_traps
        tail = sum(math.comb(self.num_repeats, count) for count in range(self.num_same + 1)) / 2**self.num_repeats
        return not (trapped or tail < _CHANCE)


@dataclass(frozen=True, slots=True)
class Results:
    """What came out of a vote. The votes of careless voters are left out of everything but `voters`."""

    scores: dict[str, Score]  # by method, the best first
    voters: list[Voter]
    num_votes: int
    agreement: tuple[float, int] | None  # share of two voters' answers on one pair that agree, and how many there are
    predicted: tuple[float, int] | None  # share of majorities that the metric gives, and how many it could look at


def careful_votes(votes: Sequence[Vote]) -> list[Vote]:
    """Without those of careless voters."""
    careless = {voter.name for voter in judge_voters(votes) if not voter.is_careful}
    return [vote for vote in votes if vote.voter not in careless]


def judge_voters(votes: Sequence[Vote]) -> list[Voter]:
    """Everybody who voted, by name."""
    found = []
    for name, mine in sorted(by_voter(votes).items()):
        first = {frozenset((vote.chosen, vote.other)): vote.chosen for vote in mine if vote.kind == "pair"}
        traps = [vote for vote in mine if vote.kind == "trap"]
        repeats = [vote for vote in mine if vote.kind == "repeat"]
        found.append(Voter(
            name, sum(vote.kind == "pair" for vote in mine), len(traps), sum(not vote.chosen.startswith(RUINED) for vote in traps),
            len(repeats), sum(first.get(frozenset((vote.chosen, vote.other))) == vote.chosen for vote in repeats),
            median(vote.took_ms for vote in mine) / 1000,
        ))  # fmt: skip
    return found


def count_votes(votes: Sequence[Vote], judge: Callable[[str, str], float | None] | None = None, *, everybody: bool = False) -> Results:
    """Sum up. judge: (picture, original's content) -> the metric's score, None if it cannot be scored. everybody: careless voters too."""
    kept = list(votes) if everybody else careful_votes(votes)
    pairs = [vote for vote in kept if vote.kind == "pair"]
    wins = Counter((method_of(vote.chosen), method_of(vote.other)) for vote in pairs)
    return Results(
        fit_scores(wins) if wins else {}, judge_voters(votes), len(pairs), _agreement(pairs),
        None if judge is None else _predicted(count_pairs(kept), judge),
    )  # fmt: skip


def method_of(name: str) -> str:
    """beach_lite-sharp.png -> lite-sharp"""
    return name.rpartition(".")[0].partition("_")[2]


def _agreement(votes: Sequence[Vote]) -> tuple[float, int] | None:
    answers: dict[frozenset[str], list[str]] = {}
    for vote in votes:
        answers.setdefault(frozenset((vote.chosen, vote.other)), []).append(vote.chosen)
    hits = [one == other for several in answers.values() for one, other in combinations(several, 2)]
    return (sum(hits) / len(hits), len(hits)) if hits else None


def _predicted(
    counts: Mapping[tuple[str, str], tuple[int, int]], judge: Callable[[str, str], float | None]
) -> tuple[float, int] | None:  # fmt: skip
    hits = []
    scores: dict[str, float | None] = {}
    for (a, b), (prefer_a, prefer_b) in counts.items():
        if prefer_a == prefer_b:
            continue
        for name in (a, b):
            if name not in scores:
                scores[name] = judge(name, name.partition("_")[0])
        one, other = scores[a], scores[b]
        if one is not None and other is not None:
            hits.append((one > other) == (prefer_a > prefer_b))
    return (sum(hits) / len(hits), len(hits)) if hits else None
