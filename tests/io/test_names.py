"""Names of files and URLs, by one rule: a URL has "://" behind a plain scheme, and everything else is a file's name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from media import make_clip, streamsr, times, upscale

NAMES = ["a:b.mp4", "concat:x.mp4", "subfile,,start,0,end,9,,:x.mp4", "data:x.mp4", "http:x.mp4", "a,b.mp4", "a b.mp4", "-x.mp4"]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mp4", num_frames=3)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_file(clip: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.rename(clip, name)
    (tmp_path / "out").mkdir()
    at = f"./{name}" if name.startswith("-") else name
    upscale(at, f"out/{name}")
    assert len(times(tmp_path / "out" / name)) == 3
    assert streamsr("verify", at, f"out/{name}").code == 0


@pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "file:{}", "FILE://{}"])
def test_file_urls_are_files(clip: Path, tmp_path: Path, form: str) -> None:
    spaced = clip.rename(tmp_path / "a b.mp4")
    path = str(spaced).replace(" ", "%20") if "//" in form else str(spaced)
    upscale(form.format(path), tmp_path / "out.mp4")
    assert len(times(tmp_path / "out.mp4")) == 3


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "crypto:a.mp4"])
def test_protocols_of_ffmpeg_are_plain_names(tmp_path: Path, name: str) -> None:
    outcome = streamsr("run", name, tmp_path / "out.mp4")
    assert outcome.code == 3
    assert "no such file" in outcome.err


@pytest.mark.parametrize("name", ["concat:http://a/b.mp4|c.mp4", "crypto:file:///etc/passwd", "subfile,,start,0,,:http://a/b"])
def test_protocols_around_a_url_are_refused(tmp_path: Path, name: str) -> None:
    outcome = streamsr("run", name, tmp_path / "out.mp4")
    assert outcome.code == 2
    assert "is not taken" in outcome.err


@pytest.mark.parametrize("length", [245, 249, 255])
@pytest.mark.parametrize("segments", ["0", "0.5"])
def test_long_names(tmp_path: Path, length: int, segments: str) -> None:
    clip = make_clip(tmp_path / "in.mp4", "-g", "10", num_frames=50)
    name = "x" * (length - 4) + ".mp4"
    upscale(clip, tmp_path / name, "--segment-seconds", segments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", name]


def test_names_that_are_too_long_are_named(clip: Path, tmp_path: Path) -> None:
    outcome = streamsr("run", clip, tmp_path / ("x" * 300 + ".mp4"), "--model", "resize")
    assert outcome.code == 2
    assert "a name of 304 bytes is too long" in outcome.err
    assert streamsr("run", tmp_path / ("x" * 300 + ".mp4"), tmp_path / "out.mp4").code == 2


def test_output_that_is_a_link_is_followed(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.mp4"
    target.write_bytes(b"old")
    (tmp_path / "out.mp4").symlink_to(target)
    upscale(clip, tmp_path / "out.mp4", "--overwrite")
    assert (tmp_path / "out.mp4").is_symlink()
    assert len(times(target)) == 3
