"""Every kind of output has one writer at a time, and nothing that was planted beside it is written through."""

from __future__ import annotations

from pathlib import Path

import pytest
from media import make_clip, streamsr, times, upscale

from streamsr.output_file import OutputLock

KINDS = {
    "short": ("out.mp4", ()), "whole": ("out.mkv", ("--segment-seconds", "0")), "segments": ("out.mkv", ("--segment-seconds", "0.2")),
    "picture": ("out.png", ("--frames", "1")), "pictures": ("%05d.png", ()), "live": ("live.mkv", ("--live",)),
    "hls": ("index.m3u8", ("--live",)), "timed": ("%Y/cam-%05d.mp4", ("--live", "--segment-time", "10m")),
}  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("one") / "in.mp4", "-g", "5", num_frames=25)


@pytest.mark.parametrize("kind", KINDS)
def test_second_run_says_who_has_the_output(clip: Path, tmp_path: Path, kind: str) -> None:
    name, options = KINDS[kind]
    with OutputLock(str(tmp_path / name)):
        before = sorted(tmp_path.rglob("*"))
        outcome = streamsr("run", clip, tmp_path / name, "--model", "resize", *options)
        assert outcome.code == 6, outcome.err
        assert "Process " in outcome.err
        assert "is working on" in outcome.err
        assert sorted(tmp_path.rglob("*")) == before
    outcome = streamsr("run", clip, tmp_path / name, "--model", "resize", *options)
    assert outcome.code == 0, outcome.err
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize("kind", ["short", "segments", "picture", "pictures", "live", "hls"])
def test_planted_link_is_not_written_through(clip: Path, tmp_path: Path, kind: str) -> None:
    name, options = KINDS[kind]
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    planted = {"pictures": "00001.png.tmp", "hls": "index-init.mp4", "picture": "out.partial.png"}.get(kind)
    (tmp_path / (planted or Path(name).stem + ".partial" + Path(name).suffix)).symlink_to(victim)
    if kind == "hls":
        (tmp_path / "index.m3u8.tmp").symlink_to(victim)
    outcome = streamsr("run", clip, tmp_path / name, "--model", "resize", *options)
    assert outcome.code == 0, outcome.err
    assert victim.read_text() == "keep me"


def test_pipe_and_device_have_no_lock(clip: Path) -> None:
    with OutputLock("/dev/null"):
        assert streamsr("run", clip, "/dev/null", "--format", "nut", "--model", "resize").code == 0


def test_result_of_exclusive_files_is_whole(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out.partial.mkv").write_bytes(b"left by a run that was killed" * 10_000)
    upscale(clip, tmp_path / "out.mkv")
    assert times(tmp_path / "out.mkv") == times(clip)
