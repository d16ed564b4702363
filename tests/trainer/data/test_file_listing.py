"""Listings of training files: complete, in order, split as ever, and small in memory however long."""

import pathlib
import subprocess
import sys

import pytest

from trainer.data.file_listing import open_folder
from trainer.data.photos import list_photos, split_photos
from trainer.trainer_error import TrainerError


def test_a_listing_is_the_split_of_the_folder(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    training, validation = open_folder(photos, tmp_path / "i.sqlite")
    expected = split_photos(list_photos(photos))
    assert (list(training), list(validation)) == expected
    assert [training[i] for i in range(len(training))] == expected[0]
    assert training[-1] == expected[0][-1]
    assert training[1:7:2] == expected[0][1:7:2]
    with pytest.raises(IndexError):
        training[len(training)]


def test_videos_are_listed_and_other_files_are_not(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(40):
        (folder / f"a{i}.MP4").touch()
        (folder / f"b{i}.jpg").touch()
        (folder / f"c{i}.txt").touch()
    training, validation = open_folder(folder, tmp_path / "i.sqlite")
    names = sorted(path.name for part in (training, validation) for path in part)
    assert names == sorted([f"a{i}.MP4" for i in range(40)] + [f"b{i}.jpg" for i in range(40)])


PEAK = """
import pathlib, resource, sys
from trainer.data.file_listing import open_folder
training, validation = open_folder(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1] + ".sqlite"))
length = sum(len(path.name) for part in (training, validation) for path in part)
print(len(training) + len(validation), length, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_folder(tmp_path: pathlib.Path) -> None:
    root = pathlib.Path(__file__).resolve().parents[3]
    peaks = []
    for count in (100, 20_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            (folder / f"a_photograph_with_an_ordinary_name_{i:08d}.jpg").touch()
        done = subprocess.run([sys.executable, "-c", PEAK, str(folder)], cwd=root, capture_output=True, text=True, check=True)
        listed, length, peak_kb = map(int, done.stdout.split())
        assert (listed, length) == (count, 47 * count)
        peaks.append(peak_kb)
    # SQLite keeps pages of 2 MB at most; a list of 20,000 paths takes 6 MB
    assert peaks[1] - peaks[0] < 4000


@pytest.mark.parametrize(("names", "message"), [([], "holds no photograph or video"), (["picture_00.png"], "both need at least one")])
def test_folders_that_cannot_be_used_are_named(names: list[str], message: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "data").mkdir()
    for name in names:
        (tmp_path / "data" / name).touch()
    with pytest.raises(TrainerError, match=message):
        open_folder(tmp_path / "data", tmp_path / "i.sqlite")
    with pytest.raises(TrainerError, match="does not exist"):
        open_folder(tmp_path / "nowhere", tmp_path / "i.sqlite")
