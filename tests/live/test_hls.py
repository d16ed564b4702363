"""A live stream into an HLS folder, read back by FFmpeg's own player side while it grows and at its end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from media import ffmpeg, make_clip, streams, streamsr, times
from servers import Live

from streamsr.options import LiveOptions

pytestmark = pytest.mark.slow
RATE = 10
AUDIO = ["-f", "lavfi", "-i", "anoisesrc=sample_rate=48000:seed=1:duration=14"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen seconds with audio in MP2, which browsers do not play."""
    path = tmp_path_factory.mktemp("hls") / "in.mkv"
    return make_clip(path, "-c:a", "mp2", "-shortest", size="64x48", rate=str(RATE), num_frames=14 * RATE, inputs=AUDIO)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def listed(playlist: Path) -> list[str]:
    return [line for line in playlist.read_text().splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("hls_type", ["fmp4", "ts"])
def test_a_window_that_slides(clip: Path, folder: Path, hls_type: str) -> None:
    playlist = folder / "index.m3u8"
    (folder / "keep.txt").touch()
    (folder / "index-12.ts").touch()  # left by a run that was killed
    playlist.touch()
    live = LiveOptions(max_latency_s=5, hls_type=hls_type, hls_segments=2)
    with Live(str(clip), playlist, live=live, overwrite=True) as running:
        running.until(lambda _: playlist.exists() and len(listed(playlist)) == 2)
        assert "#EXT-X-ENDLIST" not in playlist.read_text()
        assert not (folder / "index-12.ts").exists()
        report = running.wait()
    text = playlist.read_text()
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert "#EXT-X-INDEPENDENT-SEGMENTS" in text
    assert len(listed(playlist)) == 2
    assert (folder / "keep.txt").exists()
    segments = {file.name for file in folder.iterdir()} - {"keep.txt", "index.m3u8", "index-init.mp4"}
    assert set(listed(playlist)) <= segments
    assert len(segments) <= 4  # of seven: those in the list, and those that a slow player may still fetch
    assert all(re.fullmatch(rf"index-\d{{10}}\.{'m4s' if hls_type == 'fmp4' else 'ts'}", name) for name in segments)
    assert report.dropped == {}
    pictures, audio_streams = times(playlist), times(playlist, "a:0")
    assert len(pictures) == 2 * RATE + (report.num_out - 1) % (2 * RATE) + 1  # two seconds, and what was left for the last segment
    assert abs(pictures[0] - audio_streams[0]) < 0.5
    kinds = streams(playlist)
    assert any("h264" in words and "128x96" in words for words in kinds)
    assert any("aac" in words for words in kinds)
    ffmpeg("-xerror", "-i", playlist, "-f", "null", "-")  # decodes without a complaint


def test_an_existing_list_is_not_replaced_unasked(clip: Path, folder: Path) -> None:
    (folder / "index.m3u8").write_text("mine")
    outcome = streamsr("run", "--live", clip, folder / "index.m3u8")
    assert outcome.code == 6
    assert "--overwrite replaces it and its segments" in outcome.err
    assert (folder / "index.m3u8").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "mpegts"], "--hls-type fmp4 or ts"), (["--hls-segments", "1"], "it must be 2 to"),
        (["--hls-type", "dash"], "invalid choice"),
    ],
)  # fmt: skip
def test_options_that_cannot_be(clip: Path, folder: Path, arguments: list[str], words: str) -> None:
    outcome = streamsr("run", "--live", clip, folder / "index.m3u8", *arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert list(folder.iterdir()) == []
