"""The split is disjoint, complete and stable."""

import pathlib

import pytest
from PIL import Image

from trainer.data.pair_cache import open_cache
from trainer.data.photos import list_photos, read_rgb, split_photos
from trainer.data.stills import NUM_SOFT, clean_pairs
from trainer.trainer_error import TrainerError


def test_training_and_validation_are_disjoint_and_complete() -> None:
    paths = [pathlib.Path(f"photo_{i}.webp") for i in range(2000)]
    training, validation = split_photos(paths)
    assert not set(training) & set(validation)
    assert sorted(training + validation) == sorted(paths)
    assert 0.04 < len(validation) / len(paths) < 0.08


def test_a_photograph_stays_on_its_side_when_others_join_or_the_folder_moves() -> None:
    few = [pathlib.Path(f"/a/photo_{i}.webp") for i in range(50)]
    many = [pathlib.Path(f"/b/photo_{i}.webp") for i in range(500)]
    names = {p.name for p in split_photos(few)[1]}
    assert names == {p.name for p in split_photos(many)[1]} & {p.name for p in few}


def test_missing_and_empty_folders_are_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match=r"nowhere.*does not exist"):
        list_photos(tmp_path / "nowhere")
    with pytest.raises(TrainerError, match="holds no photograph"):
        list_photos(tmp_path)


def test_an_unreadable_picture_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(TrainerError, match=r"broken\.png"):
        read_rgb(tmp_path / "broken.png")


def test_broken_and_small_pictures_are_named_skipped_and_counted(
    photos: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Image.new("RGB", (40, 300)).save(tmp_path / "narrow.png")
    bad = list_photos(tmp_path)
    made = open_cache(tmp_path / "c", [*bad, list_photos(photos)[0]], make=clean_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)
    told = capsys.readouterr().out
    assert len(made.pairs) == 1 + NUM_SOFT
    assert "skipped: Cannot read the picture" in told
    assert "broken.png" in told
    assert "narrow.png' is 40x300; training needs 64" in told
    assert "2 photographs skipped" in told
    with pytest.raises(TrainerError, match="None of the 2 photographs can be used"):
        open_cache(tmp_path / "d", bad, make=clean_pairs, rounds=1, scale=2, seed=0, max_bytes=10**8)
