"""Agreement with people, against counts done by hand and against people who are made up."""

import numpy as np
import pytest

from trainer.metric.agreement import correlation, decided, half_of_people, majorities, one_person, predicted, share_of
from trainer.metric.opinions import Choice, Rating


def choice(a: str, b: str, prefer_a: int, prefer_b: int, content: str = "1", other: str | None = None) -> Choice:
    other = other or content
    return Choice(a, b, prefer_a, prefer_b, f"{content}_o", f"{other}_o", content, other)


def test_majorities_count_pairs_within_a_content() -> None:
    choices = [
        choice("1_o", "1_a", 9, 1), choice("1_a", "1_b", 6, 4), choice("1_b", "1_c", 2, 8), choice("1_a", "1_c", 5, 5),
        choice("1_a", "2_a", 9, 1, "1", "2"),
    ]  # fmt: skip
    scores = {"1_o": 1.0, "1_a": 0.5, "1_b": 0.6, "1_c": 0.7, "2_a": 2.0}
    assert [c.image_b for c in decided(choices)] == ["1_a", "1_b", "1_c"]
    assert predicted(decided(choices), scores).tolist() == [1.0, 0.0, 1.0]
    every, without = majorities(choices, scores)
    assert (every.percent, every.count) == (pytest.approx(200 / 3), 3)
    assert (without.percent, without.count) == (50.0, 2)
    assert one_person(choices)[0] == pytest.approx(100 * (0.9 + 0.6 + 0.8) / 3)


def test_equal_scores_are_half_a_hit() -> None:
    assert predicted([choice("1_a", "1_b", 3, 1)], {"1_a": 1.0, "1_b": 1.0}).tolist() == [0.5]


def test_intervals_by_content_are_wider_when_contents_differ() -> None:
    hits = np.array([1.0] * 50 + [0.0] * 10)
    contents = ["easy"] * 30 + ["fair"] * 20 + ["hard"] * 10
    share = share_of(hits, contents)
    assert share.percent == pytest.approx(100 * 5 / 6)
    # the binomial's own standard error, 4.8 %
    assert share.by_pairs[1] - share.by_pairs[0] == pytest.approx(4 * 4.8, rel=0.15)
    assert share.by_contents == (0.0, 100.0)


def test_people_who_agree_predict_each_other() -> None:
    assert half_of_people([choice("1_a", "1_b", 31, 0)])[0] == 100
    coin = [choice("1_a", f"1_{i}", *(16, 15)) for i in range(40)]
    # halves of a group that is split evenly rather disagree: who is in the one is missing in the other
    assert 5 < half_of_people(coin)[0] < 55


def test_correlation_is_taken_within_a_scale() -> None:
    ratings = [Rating(f"{s}{i}", "o", i + offset, "c", s) for s, offset in (("x2", 0), ("x4", -10)) for i in range(6)]
    scores = {f"{s}{i}": float(i if s == "x2" else -i) for s in ("x2", "x4") for i in range(6)}
    found = correlation(ratings, scores)
    assert found["x2"].srcc == pytest.approx(1)
    assert found["x2"].rmse == pytest.approx(0, abs=1e-9)
    assert found["x4"].krcc == pytest.approx(-1)
    assert found["x4"].plcc == pytest.approx(-1)
