"""`streamsr vote`: candidates, ballots, the store, scores, careless voters and the table for the trainer."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from media import make_clip, streamsr
from scipy import optimize, stats

from streamsr.errors import SinkError, SourceError
from streamsr.vote.bradley_terry import SPREAD, fit_scores
from streamsr.vote.candidates import read_candidates
from streamsr.vote.poll import Ballot, Poll
from streamsr.vote.results import careful_votes, count_votes, method_of
from streamsr.vote.store import Vote, VoteStore, export_pairs
from trainer.metric.opinions import read_opinions

METHODS = ("a", "b", "c", "d", "e", "f")  # their true order, the worst first
TRUE = dict(zip(METHODS, np.linspace(-2.5, 2.5, len(METHODS)), strict=True))


def fill(folder: Path, contents: int = 5, methods: tuple[str, ...] = METHODS) -> Path:
    """A folder of empty pictures, with originals."""
    for number in range(contents):
        for method in (*methods, "original"):
            (folder / f"scene{number}_{method}.png").write_bytes(b"")
    return folder


def simulated(ballot: Ballot, chance: random.Random, *, taste: dict[str, float] = TRUE) -> str:
    """The side that somebody with this taste chooses: by Bradley and Terry's law, and never a ruined picture."""
    if ballot.kind == "trap":
        return "right" if ballot.left.ruined else "left"
    gap = taste[ballot.left.candidate.method] - taste[ballot.right.candidate.method]
    return "left" if chance.random() < 1 / (1 + np.exp(-gap)) else "right"


def vote(poll: Poll, voter: str, num_votes: int, answer: object) -> list[Ballot]:
    """Let somebody answer so many ballots."""
    seen = []
    for _ in range(num_votes):
        ballot = poll.next(voter)
        if ballot is None:
            break
        seen.append(ballot)
        assert poll.cast(ballot.key, voter, answer(ballot), 1500)  # type: ignore[operator]
    return seen


def test_pairs_are_those_of_one_content(tmp_path: Path) -> None:
    fill(tmp_path, contents=2)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "scene0_clip.mp4").write_bytes(b"")
    candidates = read_candidates(tmp_path)
    assert len(candidates.pairs) == 2 * 15
    assert all(pair.a.content == pair.b.content for pair in candidates.pairs)
    assert sorted(candidates.originals) == ["scene0", "scene1"]
    assert len(read_candidates(tmp_path, with_original=True).pairs) == 2 * 21


@pytest.mark.parametrize("names", [[], ["a_x.png"], ["a_x.png", "b_y.png"], ["a_x.png", "a_original.png"], ["ax.png", "ay.png"]])
def test_a_folder_without_a_pair_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(SourceError, match="no two pictures"):
        read_candidates(tmp_path)
    assert streamsr("vote", tmp_path).code == 3
    assert streamsr("vote", tmp_path / "none").code == 3


def test_two_hundred_votes_recover_a_known_order(tmp_path: Path) -> None:
    taus, covered = [], []
    for seed in range(5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with VoteStore(fill(folder) / "votes.sqlite") as store:
            poll, chance = Poll(read_candidates(folder), store, seed=seed), random.Random(seed)
            for voter in range(5):
                vote(poll, f"voter {voter}", 48, lambda ballot, chance=chance: simulated(ballot, chance))
            results = count_votes(store.votes())
        assert 180 <= results.num_votes <= 210
        taus.append(stats.kendalltau([results.scores[name].value for name in METHODS], list(TRUE.values())).statistic)
        covered += [results.scores[name].low <= TRUE[name] <= results.scores[name].high for name in METHODS]
    print(f"Kendall's tau {np.mean(taus):.3f}, {sum(covered)} of {len(covered)} intervals hold the truth")
    assert np.mean(taus) > 0.9
    assert sum(covered) >= 26  # of 30; 28.5 are expected


def test_scores_are_the_maximum_of_the_likelihood() -> None:
    wins = {("a", "b"): 7, ("b", "a"): 3, ("a", "c"): 9, ("c", "b"): 5, ("b", "c"): 6, ("c", "a"): 2}
    names = ["a", "b", "c"]

    def loss(score: np.ndarray) -> float:
        gaps = [(score[names.index(winner)] - score[names.index(loser)], count) for (winner, loser), count in wins.items()]
        return sum(count * np.log1p(np.exp(-gap)) for gap, count in gaps) + np.square(score).sum() / (2 * SPREAD**2)

    best = optimize.minimize(loss, np.zeros(3)).x
    found = fit_scores(wins)
    assert [found[name].value for name in names] == pytest.approx(list(best - best.mean()), abs=1e-4)
    assert list(found) == sorted(names, key=lambda name: -found[name].value)
    alone = fit_scores({("x", "y"): 12})  # always wins, and has a score all the same
    assert 0 < alone["x"].value < 5


def test_ballots_are_blind_and_cover_every_pair_alike(tmp_path: Path) -> None:
    fill(tmp_path, contents=2)
    with VoteStore(tmp_path / "votes.sqlite") as store:
        poll = Poll(read_candidates(tmp_path), store, seed=1)
        seen = vote(poll, "ann", 15, lambda ballot: "left") + vote(poll, "bob", 15, lambda ballot: "left")
        pairs = Counter(frozenset((b.left.name, b.right.name)) for b in seen if b.kind == "pair")
        assert max(pairs.values()) == 1  # bob gets those that ann has not judged
        assert not any(word in b.key + "".join(b.keys) for b in seen for word in ("scene", ".png"))
        first = [(b.left.candidate.method, b.right.candidate.method) for b in seen if b.kind == "pair"]
        assert 5 < sum(a < b for a, b in first) < len(first) - 5  # sides are of chance
        rest = vote(poll, "ann", 100, lambda ballot: "left")
        assert len(rest) < 100
        assert poll.next("ann") is None
        repeats = [b for b in seen + rest if b.kind == "repeat" and b.voter == "ann"]
        assert repeats
        for repeat in repeats:
            sides = {repeat.left, repeat.right}
            earlier = next(b for b in seen + rest if (b.kind, b.voter) == ("pair", "ann") and {b.left, b.right} == sides)
            assert (earlier.left, earlier.right) == (repeat.right, repeat.left)


def test_an_answer_counts_once_and_for_its_voter(tmp_path: Path) -> None:
    fill(tmp_path, contents=1)
    with VoteStore(tmp_path / "votes.sqlite") as store:
        poll = Poll(read_candidates(tmp_path), store)
        ballot = poll.next("ann")
        assert ballot is not None
        assert not poll.cast(ballot.key, "bob", "left", 100)
        assert poll.file(ballot.keys[0]) is not None
        assert poll.cast(ballot.key, "ann", "left", 100)
        assert not poll.cast(ballot.key, "ann", "left", 100)
        assert poll.file(ballot.keys[0]) is None
        assert len(store.votes()) == 1
    with VoteStore(tmp_path / "votes.sqlite") as store:  # as it was
        assert [v.chosen for v in store.votes()] == [ballot.left.name]
        poll = Poll(read_candidates(tmp_path), store)
        assert poll.take_back("ann")
        assert not poll.take_back("ann")
        assert store.votes() == []


def test_careless_voters_are_found_and_left_out(tmp_path: Path) -> None:
    fill(tmp_path)
    with VoteStore(tmp_path / "votes.sqlite") as store:
        poll, chance = Poll(read_candidates(tmp_path), store, seed=3), random.Random(3)
        vote(poll, "careful", 60, lambda ballot: simulated(ballot, chance, taste={m: 5 * v for m, v in TRUE.items()}))
        vote(poll, "always left", 60, lambda ballot: "left")
        votes = store.votes()
    assert {v.voter for v in careful_votes(votes)} == {"careful"}
    results = count_votes(votes)
    assert {voter.name: voter.is_careful for voter in results.voters} == {"careful": True, "always left": False}
    assert next(iter(results.scores)) == "f"
    assert count_votes(votes, everybody=True).num_votes > results.num_votes


def test_agreement_and_the_metrics_share_are_counted() -> None:
    votes = [Vote("ann", "pair", "x_a.png", "x_b.png", "left", 900), Vote("bob", "pair", "x_a.png", "x_b.png", "right", 900),
             Vote("ann", "pair", "y_b.png", "y_a.png", "left", 900), Vote("bob", "pair", "y_a.png", "y_b.png", "left", 900),
             Vote("cyd", "pair", "y_a.png", "y_b.png", "left", 900)]  # fmt: skip
    results = count_votes(votes, lambda name, content: {"x_a.png": 0.4, "x_b.png": 0.5, "y_a.png": 0.9, "y_b.png": 0.1}[name])
    assert results.agreement == (0.5, 4)  # x: 1 of 1, y: 1 of 3
    assert results.predicted == (0.5, 2)
    assert method_of("beach_lite-sharp.png") == "lite-sharp"


def test_the_table_is_the_trainers(tmp_path: Path) -> None:
    fill(tmp_path, contents=2)
    a, b = "scene0_a.png", "scene0_b.png"
    votes = [Vote("ann", "pair", b, a, "left", 900), Vote("bob", "pair", b, a, "left", 900), Vote("cyd", "pair", a, b, "left", 900),
             Vote("cyd", "repeat", a, b, "left", 9), Vote("ann", "trap", a, f"!{a}", "left", 900),
             Vote("ann", "pair", "other_a.png", "other_b.png", "left", 9)]  # fmt: skip
    originals = {content: one.path.name for content, one in read_candidates(tmp_path).originals.items()}
    assert export_pairs(votes, originals, tmp_path / "votes.csv") == 1
    (choice,) = read_opinions(tmp_path / "votes.csv", tmp_path).choices
    assert (choice.image_a, choice.prefer_a, choice.prefer_b) == ("scene0_a.png", 1, 2)
    assert choice.original_a == choice.original_b == "scene0_original.png"
    with pytest.raises(SinkError, match=r"votes\.csv"):
        export_pairs(votes, originals, tmp_path / "none" / "votes.csv")


def test_a_foreign_file_holds_no_votes(tmp_path: Path) -> None:
    fill(tmp_path, contents=1)
    (tmp_path / "votes.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 40)
    outcome = streamsr("vote", tmp_path, "--results")
    assert outcome.code == 6
    assert "votes.sqlite" in outcome.err


def test_pictures_are_made_and_counted_from_the_command(tmp_path: Path) -> None:
    from PIL import Image

    clip = make_clip(tmp_path / "my_clip.mp4", size="130x98", num_frames=30)
    folder = tmp_path / "folder"
    given = ["--of", clip, "--at", "0.2", "--at", "0.8", "--try", "resize", "--try", "net: --model lite --precision f32"]
    outcome = streamsr("vote", folder, *given, "--results")
    assert outcome.code == 3  # nobody has voted
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"my-clip-{number}_{method}.png" for number, method in itertools.product((1, 2), ("net", "original", "resize"))]
    sizes = {Image.open(folder / name).size for name in names}
    assert sizes == {(128, 96)}
    with VoteStore(folder / "votes.sqlite") as store:
        store.add(Vote("ann", "pair", "my-clip-1_net.png", "my-clip-1_resize.png", "left", 900))
    outcome = streamsr("vote", folder, "--results", "--export", tmp_path / "votes.csv")
    assert outcome.code == 0, outcome.err
    assert "1 votes" in outcome.out
    assert "Efficient-PBAN agrees with the majority in" in outcome.out
    for bad in (["--of", clip, "--try", "lite"], ["--of", clip, "--try", "a: --model lite", "--try", "a: --model base"],
                ["--of", clip, "--try", "a: --crf 3", "--try", "lite"], ["--of", clip, "--try", "a b", "--try", "lite"]):  # fmt: skip
        assert streamsr("vote", folder, *bad).code == 2
