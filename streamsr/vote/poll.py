"""Poll: which pair somebody sees next, and what the answer was.

Pairs that have the fewest votes come first, in random order, with random sides. Now and then a pair comes again with its sides
exchanged, and a picture beside a degraded copy of itself: these detect careless votes and do not count for the candidates.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Literal

from .candidates import Candidate, Candidates, Pair
from .store import RUINED, Kind, Vote, VoteStore

_REPEAT_EVERY, _TRAP_EVERY = 8, 10  # ballots
_REPEAT_AFTER = 3  # ballots between a pair and its repetition
_OPEN_BALLOTS = 1000  # that are remembered: of people who closed the page


@dataclass(frozen=True, slots=True)
class Side:
    """What stands on one side. ruined: a picture as no upscaler would leave it."""

    candidate: Candidate
    ruined: bool = False

    @property
    def name(self) -> str:
        return (RUINED if self.ruined else "") + self.candidate.path.name


@dataclass(frozen=True, slots=True)
class Ballot:
    """A question to a voter. Its key and those of its sides do not reveal which method made which."""

    key: str
    voter: str
    kind: Kind
    left: Side
    right: Side
    keys: tuple[str, str]  # of the two files
    num_done: int  # pairs that this voter has judged
    num_pairs: int


class Poll:
    """May be called from several threads. seed: of the order; None: chance."""

    def __init__(self, candidates: Candidates, store: VoteStore, *, seed: int | None = None) -> None:
        self._pairs = candidates.pairs
        self._by_name = {pair_names(pair): pair for pair in self._pairs}
        self._store = store
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Ballot] = OrderedDict()
        self._files: dict[str, Side] = {}  # by key

    def next(self, voter: str) -> Ballot | None:
        """The next question, None when this voter has judged every pair."""
        with self._lock:
            votes = self._store.votes()
            mine = [vote for vote in votes if vote.voter == voter]
            judged = {_names(vote) for vote in mine if vote.kind == "pair"}
            counts = Counter(_names(vote) for vote in votes if vote.kind == "pair")
            left = [pair for pair in self._pairs if pair_names(pair) not in judged]
            if not left:
                return None
            kind, sides = self._choose(mine, left, counts)
            ballot = Ballot(
                secrets.token_urlsafe(12), voter, kind, *sides, (secrets.token_urlsafe(12), secrets.token_urlsafe(12)),
                len(judged), len(self._pairs),
            )  # fmt: skip
            self._open[ballot.key] = ballot
            self._files |= dict(zip(ballot.keys, sides, strict=True))
            while len(self._open) > _OPEN_BALLOTS:
                self._forget(next(iter(self._open)))
            return ballot

    def _choose(
        self, mine: list[Vote], left: list[Pair], counts: Counter[tuple[str, str]]
    ) -> tuple[Kind, tuple[Side, Side]]:  # fmt: skip
        number = len(mine) + 1
        if number % _TRAP_EVERY == 0:
            pictures = [pair.a for pair in left if not pair.a.is_video]
            if pictures:
                chosen = self._random.choice(pictures)
                return "trap", self._shuffled(Side(chosen), Side(chosen, ruined=True))
        repeated = {_names(vote) for vote in mine if vote.kind == "repeat"}
        earlier = [vote for vote in mine[:-_REPEAT_AFTER] if vote.kind == "pair" and _names(vote) not in repeated]
        again = [vote for vote in earlier if _names(vote) in self._by_name]
        if number % _REPEAT_EVERY == 0 and again:
            vote = self._random.choice(again)
            pair = self._by_name[_names(vote)]
            chosen, other = (pair.a, pair.b) if pair.a.path.name == vote.chosen else (pair.b, pair.a)
            # the sides are exchanged: who always says left is found out
            return "repeat", (Side(other), Side(chosen)) if vote.side == "left" else (Side(chosen), Side(other))
        fewest = min(counts[pair_names(pair)] for pair in left)
        pair = self._random.choice([pair for pair in left if counts[pair_names(pair)] == fewest])
        return "pair", self._shuffled(Side(pair.a), Side(pair.b))

    def _shuffled(self, one: Side, other: Side) -> tuple[Side, Side]:
        return (one, other) if self._random.random() < 0.5 else (other, one)

    def file(self, key: str) -> Side | None:
        """What a file's key stands for."""
        with self._lock:
            return self._files.get(key)

    def cast(self, key: str, voter: str, side: Literal["left", "right"], took_ms: int) -> bool:
        """Keep an answer; False for a ballot that is not open, or not this voter's."""
        with self._lock:
            ballot = self._open.get(key)
            if ballot is None or ballot.voter != voter:
                return False
            chosen, other = (ballot.left, ballot.right) if side == "left" else (ballot.right, ballot.left)
            self._store.add(Vote(voter, ballot.kind, chosen.name, other.name, side, took_ms))
            self._forget(key)
            return True

    def take_back(self, voter: str) -> bool:
        """Forget the last answer of somebody."""
        with self._lock:
            return self._store.take_back(voter)

    def _forget(self, key: str) -> None:
        for file in self._open.pop(key).keys:
            del self._files[file]


def pair_names(pair: Pair) -> tuple[str, str]:
    """File names in their order, as votes are counted by."""
    one, other = sorted((pair.a.path.name, pair.b.path.name))
    return one, other


def _names(vote: Vote) -> tuple[str, str]:
    return min(vote.chosen, vote.other), max(vote.chosen, vote.other)
