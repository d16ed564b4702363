"""Image sequences whose numbers have holes or begin anywhere, and pictures that FFmpeg cannot decode."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import ffmpeg, rows, streamsr, times, upscale
from PIL import Image, ImageSequence


def pictures(folder: Path, numbers: list[int], name: str = "{:05}.png") -> None:
    for number in numbers:
        Image.new("RGB", (32, 32), (number * 20 % 256, 40, 90)).save(folder / name.format(number))


@pytest.mark.parametrize("numbers", [[1, 2, 4, 5, 8], [7, 8, 9], [100, 250], [0, 1, 2]])
@pytest.mark.parametrize(("name", "pattern"), [("{:05}.png", "%05d.png"), ("a{}b.png", "a%db.png")])
def test_every_picture_is_used(tmp_path: Path, numbers: list[int], name: str, pattern: str) -> None:
    (tmp_path / "in").mkdir()
    pictures(tmp_path / "in", numbers, name)
    (tmp_path / "in" / "other.png").write_bytes(b"")
    outcome = upscale(tmp_path / "in" / pattern, tmp_path / "out.mkv", "--encoder", "ffv1")
    assert len(times(tmp_path / "out.mkv")) == len(numbers)
    assert len({row.md5 for row in rows(tmp_path / "out.mkv")}) == len(numbers)
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    assert (f"{missing} numbers of the sequence are missing" in outcome.err) is (missing > 0)


def test_pictures_are_shown_at_their_numbers_times_where_asked(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pictures(tmp_path / "in", [7, 8, 10, 11, 14])
    pattern = tmp_path / "in" / "%05d.png"
    outcome = upscale(pattern, tmp_path / "out.mkv", "--keep-gaps", "--input-rate", "10")
    assert times(tmp_path / "out.mkv") == [Fraction(number, 10) for number in (0, 1, 3, 4, 7)]
    assert "3 numbers of the sequence are missing: the pictures before them stay" in outcome.err
    upscale(pattern, tmp_path / "part.mkv", "--keep-gaps", "--input-rate", "10", "--start", "0.25")
    assert len(times(tmp_path / "part.mkv")) == 3


def test_animated_webp_is_read(faults: Path, tmp_path: Path) -> None:
    upscale(faults / "animated.webp", tmp_path / "out.mkv", "--encoder", "ffv1", "--scale", "1")
    with Image.open(faults / "animated.webp") as source:
        lengths, pictures = [], []
        for frame in ImageSequence.Iterator(source):
            pictures.append(np.asarray(frame.convert("RGB"), int))
            lengths.append(frame.info["duration"] / 1000)  # which Pillow knows once it has decoded
    assert [float(time) for time in times(tmp_path / "out.mkv")] == pytest.approx(np.cumsum([0, *lengths[:-1]]))
    raw = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    found = np.frombuffer(ffmpeg("-i", tmp_path / "out.mkv", *raw), np.uint8)
    assert np.abs(found.reshape(np.shape(pictures)) - np.array(pictures)).max() <= 2


def test_animated_webp_with_transparency_and_parts(tmp_path: Path) -> None:
    pictures = [Image.new("RGBA", (48, 32), (200, 0, 0, 0)) for _ in range(4)]
    for number, picture in enumerate(pictures):
        picture.paste((0, 200, 90, 255), (8 * number, 8, 8 * number + 8, 16))
    pictures[0].save(tmp_path / "in.webp", save_all=True, append_images=pictures[1:], duration=[40, 80, 120, 160], lossless=True)
    upscale(tmp_path / "in.webp", tmp_path / "out.apng", "--scale", "1")
    with Image.open(tmp_path / "out.apng") as found:
        assert [frame.info["duration"] for frame in ImageSequence.Iterator(found)] == [40, 80, 120, 160]
        for frame, picture in zip(ImageSequence.Iterator(found), pictures, strict=True):
            alpha = np.asarray(frame.convert("RGBA"), int)[..., 3]
            assert np.abs(alpha - np.asarray(picture, int)[..., 3]).max() <= 2


def test_broken_animated_webp_is_refused(faults: Path, tmp_path: Path) -> None:
    (tmp_path / "in.webp").write_bytes((faults / "animated.webp").read_bytes()[:60])
    outcome = streamsr("run", tmp_path / "in.webp", tmp_path / "out.mkv")
    assert outcome.code == 3
    assert "not an animated WebP that Pillow can read" in outcome.err


def test_animated_webp_without_pillow_says_what_to_install(faults: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    webp = tmp_path / "in.webp"
    webp.write_bytes((faults / "animated.webp").read_bytes())
    monkeypatch.setitem(sys.modules, "PIL", None)
    outcome = streamsr("run", webp, tmp_path / "out.mkv")
    assert outcome.code == 3
    assert "streamsr[pictures]" in outcome.err


@pytest.mark.parametrize("name", ["alpha.gif", "alpha.apng", "prores4444_alpha.mov"])
@pytest.mark.parametrize("suffix", ["mkv", "webm", "mov"])
def test_alpha_of_any_source_is_kept(faults: Path, tmp_path: Path, name: str, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    upscale(faults / name, out, "--scale", "1")
    decoder = [] if suffix == "mov" else ["-c:v", "libvpx-vp9"]
    before = ffmpeg("-i", faults / name, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-frames:v", "1", "-")
    after = ffmpeg(*decoder, "-i", out, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-frames:v", "1", "-")
    assert len(before) == len(after)
    assert sum(abs(a - b) for a, b in zip(before, after, strict=True)) / len(before) < 6
