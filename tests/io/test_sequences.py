"""Image sequences whose numbers have holes or begin anywhere, and pictures that FFmpeg cannot decode."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import rows, streamsr, times, upscale
from PIL import Image


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


def test_animated_webp_gets_a_true_reason(faults: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", faults / "animated.webp", tmp_path / "out.mkv")
    assert outcome.code == 3
    assert "does not decode animated WebP" in outcome.err
    assert "GIF or APNG" in outcome.err


@pytest.mark.parametrize("name", ["alpha.gif", "alpha.apng", "prores4444_alpha.mov"])
@pytest.mark.parametrize("suffix", ["mkv", "webm", "mov"])
def test_alpha_of_any_source_is_kept(faults: Path, tmp_path: Path, name: str, suffix: str) -> None:
    from media import ffmpeg

    out = tmp_path / f"out.{suffix}"
    upscale(faults / name, out, "--scale", "1")
    decoder = [] if suffix == "mov" else ["-c:v", "libvpx-vp9"]
    before = ffmpeg("-i", faults / name, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-frames:v", "1", "-")
    after = ffmpeg(*decoder, "-i", out, "-vf", "alphaextract", "-f", "rawvideo", "-pix_fmt", "gray", "-frames:v", "1", "-")
    assert len(before) == len(after)
    assert sum(abs(a - b) for a, b in zip(before, after, strict=True)) / len(before) < 6
