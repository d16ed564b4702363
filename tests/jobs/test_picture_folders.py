"""Folders of pictures: each picture gets its result, and one that cannot be read does not end the batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from media import make_clip, streamsr
from PIL import Image


def photos(folder: Path, *names: str, size: tuple[int, int] = (48, 32)) -> Path:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        shades = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(shades).resize((2 * size[0], 2 * size[1]), Image.Resampling.BICUBIC).save(folder / name)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_picture_of_a_folder_is_upscaled(tmp_path: Path) -> None:
    source = photos(tmp_path / "in", "a.png", "b.JPG", "c.webp", "d.tif", "e.bmp", "f.tga", "g.pcx")
    (source / "broken.png").write_bytes((source / "a.png").read_bytes()[:60])
    (source / "notes.txt").write_text("of these pictures")
    outcome = streamsr("run", source, tmp_path / "out", "--model", "resize", "--report", tmp_path / "r.json")
    assert outcome.code == 3  # of the broken one
    assert "batch of 8: 7 done, 0 done before, 1 failed; 1 other files left out" in outcome.err
    assert names(tmp_path / "out") == ["a.png", "b.JPG", "c.webp", "d.tif", "e.bmp", "f.png", "g.png"]
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as found:
            assert found.size == (192, 128)
    assert len(json.loads((tmp_path / "r.json").read_text())["done"]) == 7
    again = streamsr("run", source, tmp_path / "out", "--model", "resize")
    assert "batch of 8: 0 done, 7 done before, 1 failed" in again.err


def test_pictures_beside_videos_are_left_out_unless_named(tmp_path: Path) -> None:
    source = photos(tmp_path / "in", "cover.jpg")
    clip = make_clip(source / "film.mp4", num_frames=2)
    outcome = streamsr("run", source, tmp_path / "out", "--model", "resize")
    assert "1 pictures beside the videos skipped" in outcome.err
    assert names(tmp_path / "out") == ["film.mp4"]
    assert streamsr("run", source / "cover.jpg", clip, tmp_path / "named", "--model", "resize").code == 0
    assert names(tmp_path / "named") == ["cover.jpg", "film.mp4"]


def test_animations_of_a_folder_stay_animations(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pictures = [Image.new("RGB", (32, 32), (shade, 0, 90)) for shade in (0, 90, 180)]
    for name in ("a.gif", "b.png", "c.webp"):
        pictures[0].save(tmp_path / "in" / name, save_all=True, append_images=pictures[1:], duration=100)
    assert streamsr("run", tmp_path / "in", tmp_path / "out", "--model", "resize").code == 0
    assert names(tmp_path / "out") == ["a.gif", "b.apng", "c.apng"]
    for path in (tmp_path / "out").iterdir():
        with Image.open(path) as found:
            assert found.n_frames == 3


def test_folders_are_compared_picture_by_picture(tmp_path: Path) -> None:
    original = photos(tmp_path / "original", "a.png", "b.png", "c.png", "only.png")
    result = photos(tmp_path / "result", "a.jpg", "b.png", "c.png")
    photos(result, "c.png", size=(64, 48))
    outcome = streamsr("compare", result, original, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    facts = json.loads(outcome.out)
    assert [frame["picture"] for frame in facts["frames"]] == ["a.jpg", "b.png"]
    with Image.open(result / "a.jpg") as mine, Image.open(original / "a.png") as theirs:
        luma = [np.asarray(picture.convert("RGB"), float) @ (0.299, 0.587, 0.114) for picture in (mine, theirs)]
    assert facts["frames"][0]["psnr"] == pytest.approx(10 * np.log10(255**2 / ((luma[0] - luma[1]) ** 2).mean()), abs=1.5)
    assert facts["frames"][1]["psnr"] > facts["frames"][0]["psnr"]
    assert any("c.png was not measured" in note for note in facts["notes"])
    assert any("only.png has no partner" in note for note in facts["notes"])
    table = streamsr("compare", result, original, "--quiet")
    assert "worst pictures of result: a.jpg" in table.out


def test_folder_against_a_file_is_refused(tmp_path: Path) -> None:
    folder = photos(tmp_path / "a", "a.png")
    assert streamsr("compare", folder, folder / "a.png").code == 2
    outcome = streamsr("compare", folder, photos(tmp_path / "b", "other.png"))
    assert outcome.code == 2
    assert "pairs pictures by their names" in outcome.err
