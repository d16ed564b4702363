"""The pretraining set: severities are in order, builds are repeatable, resumable and bounded, and say what went wrong."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from streamsr.compare.vmaf import find_ffmpeg
from trainer.metric.distorted_set import DistortOptions, build_set, pseudo_labels, read_set
from trainer.metric.distortions import FAMILIES
from trainer.trainer_error import TrainerError

needs_vmaf = pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")
SMALL = DistortOptions(photos=2, families=2, side=176)


@pytest.fixture(scope="module")
def large_photos(tmp_path_factory: pytest.TempPathFactory, draw_picture: Callable[[int, int, int], np.ndarray]) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("large")
    for i in range(3):
        Image.fromarray(draw_picture(192, 208, i)).save(folder / f"picture_{i}.png")
    Image.fromarray(draw_picture(96, 96, 9)).save(folder / "small.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_each_level_is_further_from_the_original(family: str, draw_picture: Callable[[int, int, int], np.ndarray]) -> None:
    picture = draw_picture(192, 176, 0)
    levels = FAMILIES[family](picture, np.random.default_rng(0))
    errors = [float(np.mean((result.astype(float) - picture) ** 2)) for _, result in levels]
    assert len(levels) == 3
    assert all(result.shape == picture.shape and result.dtype == np.uint8 for _, result in levels)
    assert 0 < errors[0] < errors[1] < errors[2]
    assert len({words for words, _ in levels}) == 3


@needs_vmaf
def test_pseudo_labels_fall_with_severity(draw_picture: Callable[[int, int, int], np.ndarray]) -> None:
    picture = draw_picture(192, 176, 0)
    labels = pseudo_labels([picture, *(result for _, result in FAMILIES["blur"](picture, np.random.default_rng(0)))], picture)
    assert set(labels[0]) == {"vmaf", "vmaf_neg", "ms_ssim", "ssim", "psnr"}
    for name in labels[0]:
        values = [label[name] for label in labels]
        assert values == sorted(values, reverse=True), name
    assert labels[0]["ssim"] == 1


@needs_vmaf
def test_a_build_goes_on_where_it_stopped_and_is_repeatable(large_photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    whole = build_set(large_photos, tmp_path / "whole", SMALL)
    build_set(large_photos, tmp_path / "parts", DistortOptions(photos=1, families=2, side=176))
    with open(tmp_path / "parts" / "index.jsonl", "a") as index:
        index.write('{"photo": "half a li')  # as a killed build leaves it
    parts = build_set(large_photos, tmp_path / "parts", SMALL)
    assert parts == whole == list(read_set(tmp_path / "parts"))
    assert len(whole) == 2
    assert [v.severity for v in whole[0].versions] == [0, 1, 2] * 2
    for subject in whole:
        for file in (subject.original, *(v.file for v in subject.versions)):
            one, other = (np.asarray(Image.open(tmp_path / name / file)) for name in ("whole", "parts"))
            assert np.array_equal(one, other)
            assert one.shape == (176, 176, 3)


@needs_vmaf
def test_bad_photographs_are_named_and_skipped(
    large_photos: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subjects = build_set(large_photos, tmp_path / "set", DistortOptions(photos=9, families=1, side=176))
    assert sorted(subject.photo for subject in subjects) == [f"picture_{i}.png" for i in range(3)]
    told = capsys.readouterr().out
    assert "skipped: Cannot read the picture" in told
    assert "broken.png" in told
    assert "skipped small.png: 96 x 96 is smaller" in told
    assert "2 skipped" in told


@needs_vmaf
def test_a_build_stops_before_it_grows_too_large(large_photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    build_set(large_photos, tmp_path, DistortOptions(photos=1, families=1, side=176))
    assert len(build_set(large_photos, tmp_path, DistortOptions(photos=3, families=1, side=176, max_mb=0))) == 1


@needs_vmaf
def test_what_is_wrong_is_named(large_photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(TrainerError, match="--side is 100"):
        build_set(large_photos, tmp_path, DistortOptions(side=100))
    with pytest.raises(TrainerError, match="no model file 'none"):
        build_set(large_photos, tmp_path, DistortOptions(models=("none.onnx",)))
    with pytest.raises(TrainerError, match="500 pixels a side; 5 were skipped"):
        build_set(large_photos, tmp_path / "a", DistortOptions(side=500))
    build_set(large_photos, tmp_path / "b", DistortOptions(photos=1, families=1, side=176))
    with pytest.raises(TrainerError, match=r"another set \(families 1 there, 2 here"):
        build_set(large_photos, tmp_path / "b", SMALL)
    with pytest.raises(TrainerError, match="trainer distort"):
        list(read_set(tmp_path / "c"))
    entry = json.loads((tmp_path / "b" / "index.jsonl").read_text())
    del entry["original"]
    (tmp_path / "b" / "index.jsonl").write_text(json.dumps(entry) + "\n")
    with pytest.raises(TrainerError, match=r"index\.jsonl:1: not a line of a set"):
        list(read_set(tmp_path / "b"))
