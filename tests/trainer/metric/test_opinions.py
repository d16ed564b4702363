"""Tables of opinions: every format, every way to be wrong, splits by content."""

import os
import pathlib
import random

import pytest

from trainer.metric.opinions import Choice, Rating, folds, read_opinions
from trainer.trainer_error import TrainerError

DATA = pathlib.Path(os.environ["STREAMSR_DATA"]) if "STREAMSR_DATA" in os.environ else None


def write(folder: pathlib.Path, text: str, name: str = "table.txt") -> pathlib.Path:
    (folder / name).write_text(text)
    return folder / name


def test_mos_lists_name_result_score_and_original(tmp_path: pathlib.Path) -> None:
    found = read_opinions(write(tmp_path, "ATD_x2_0813x2.png#4.5#0813x2.png\n\nATD_x3_0813x3.png#2#0813x3.png\n"))
    assert found.ratings == [
        Rating("ATD_x2_0813x2.png", "0813x2.png", 4.5, "0813", "x2"),
        Rating("ATD_x3_0813x3.png", "0813x3.png", 2.0, "0813", "x3"),
    ]
    assert found.contents == ["0813"]


def test_mos_lists_may_have_the_score_last(tmp_path: pathlib.Path) -> None:
    found = read_opinions(write(tmp_path, "ATD_x4_0820x4.png#0820x4.png#2.95\n"))
    assert found.ratings == [Rating("ATD_x4_0820x4.png", "0820x4.png", 2.95, "0820", "x4")]


def test_kadid_tables_are_read_by_their_header(tmp_path: pathlib.Path) -> None:
    found = read_opinions(write(tmp_path, "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.496\n"))
    assert found.ratings == [Rating("I01_01_01.png", "I01.png", 4.57, "i01", "")]


def test_pipal_and_tid_name_a_picture_after_its_original(tmp_path: pathlib.Path) -> None:
    pipal = read_opinions(write(tmp_path, "A0001_00_00.bmp,1445.58\n"))
    assert pipal.ratings == [Rating("A0001_00_00.bmp", "A0001.bmp", 1445.58, "a0001", "")]
    tid = read_opinions(write(tmp_path, "5.51429 I01_01_1.bmp\n"))
    assert tid.ratings == [Rating("I01_01_1.bmp", "I01.bmp", 5.51429, "i01", "")]


def test_pairs_count_people(tmp_path: pathlib.Path) -> None:
    lines = ("image_a,image_b,prefer_a,prefer_b", "07_original.webp,07_net_lo.webp,28,3", "07_a.webp,08_a.webp,1,2")
    found = read_opinions(write(tmp_path, "\n".join(lines)))
    assert found.choices[0] == Choice("07_original.webp", "07_net_lo.webp", 28, 3, "07_original.webp", "07_original.webp", "07", "07")
    assert [c.within for c in found.choices] == [True, False]
    assert [c.with_original for c in found.choices] == [True, False]
    assert found.contents == ["07", "08"]
    assert found.pictures["08_a.webp"] == "08_original.webp"


@pytest.mark.parametrize(("text", "words"), [
    ("", "no line in it"),
    ("hello\n", r":1: 'hello' is no known form.*SR#MOS#HR"),
    ("a.png#1#b.png\na.png#1\n", ":2: 'a.png#1' has 2 fields"),
    ("a.png#1#b.png\n\nc.png#good#b.png\n", ":3: 'good' is not a score"),
    ("a.png#nan#b.png\n", ":1: 'nan' is not a score"),
    ("a.png##b.png\n", ":1: '' is not a score"),
    ("#3#b.png\n", ":1: a file name is empty"),
    ("dist_img,ref_img,dmos\na.png,b.png\n", ":2: .*has 2 columns; the header has 3"),
    ("a_1.bmp,1.5\nb_1.bmp;2\n", ":2: '' is not a score"),
    ("1.5 a_1.bmp\n1.5 a b.bmp\n", ":2: .*has 3 words"),
    ("image_a,image_b,prefer_a,prefer_b\na_1.png,a_2.png,3,-1\n", ":2: prefer_b is '-1'"),
    ("image_a,image_b,prefer_a,prefer_b\na_1.png,a_1.png,3,1\n", ":2: a pair needs two pictures"),
    ("image_a,image_b,prefer_a,prefer_b\na_1.png,a_2.png,0,0\n", ":2: nobody was asked"),
])  # fmt: skip
def test_a_malformed_line_is_named(tmp_path: pathlib.Path, text: str, words: str) -> None:
    with pytest.raises(TrainerError, match=rf"table\.txt{words}" if words.startswith(":") else words):
        read_opinions(write(tmp_path, text))


def test_a_missing_picture_is_named_with_its_line(tmp_path: pathlib.Path) -> None:
    table = write(tmp_path, "a.png#1#b.png\nc.png#2#b.png\n")
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(TrainerError, match=r"table\.txt:2: 'c\.png' is not in .*1 of 3 pictures"):
        read_opinions(table, tmp_path)
    with pytest.raises(TrainerError, match="nowhere"):
        read_opinions(table, tmp_path / "nowhere")
    with pytest.raises(TrainerError, match="Cannot read the opinions"):
        read_opinions(tmp_path / "none.txt")


def test_no_content_is_on_both_sides_of_a_split(tmp_path: pathlib.Path) -> None:
    random.seed(0)
    lines = [f"net{i}_x{s}_{c:04d}x{s}.png#{random.random()}#{c:04d}x{s}.png" for c in range(7) for s in (2, 3) for i in range(4)]
    found = read_opinions(write(tmp_path, "\n".join(lines)))
    for count in (None, 3):
        left = []
        for training, out in folds(found.contents, count):
            one, other = found.of(training), found.of(out)
            assert not {r.original[:4] for r in one.ratings} & {r.original[:4] for r in other.ratings}
            assert len(one.ratings) + len(other.ratings) == len(lines)
            left += out
        assert sorted(left) == found.contents
    with pytest.raises(TrainerError, match="two contents"):
        folds(["one"])


def test_a_choice_across_contents_needs_both() -> None:
    from trainer.metric.opinions import Opinions

    choice = Choice("1_a.png", "2_a.png", 3, 1, "1_original.png", "2_original.png", "1", "2")
    table = Opinions("t", None, choices=[choice])
    assert table.of(["1"]).choices == []
    assert table.of(["1", "2"]).choices == [choice]


@pytest.mark.skipif(DATA is None, reason="STREAMSR_DATA names no folder with opinions")
def test_real_tables_are_read_whole() -> None:
    assert DATA is not None
    tables = {part: read_opinions(DATA / "opinions/isrgen_qa_tables" / f"{part}.txt") for part in ("train", "val", "test")}
    assert {part: len(table.ratings) for part, table in tables.items()} == {"train": 576, "val": 72, "test": 72}
    assert {r.scale for r in tables["train"].ratings} == {"x2", "x3", "x4", "x8"}
    assert len({c for table in tables.values() for c in table.contents}) == 19
    pairs = read_opinions(DATA / "opinions/pairs.csv", DATA / "opinions/images")
    assert len(pairs.choices) == 285
    assert len(pairs.pictures) == 57
    assert sum(c.within for c in pairs.choices) == 246
    assert len(folds(pairs.contents)) == 6
