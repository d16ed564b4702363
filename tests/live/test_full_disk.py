"""A disk that fills up under a live stream: a lost output, never a list of empty segments."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from media import ffmpeg, times
from servers import Live

from streamsr.options import LiveOptions

RATE = 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "streamsr", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds of noise, about 80 kB each."""
    path = tmp_path_factory.mktemp("full") / "in.mkv"
    noise = f"nullsrc=size=64x48:rate={RATE},geq=random(1)*255:128:128,trim=end_frame={6 * RATE}"
    ffmpeg("-f", "lavfi", "-i", noise, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "10", "-g", RATE, "-pix_fmt", "yuv420p", path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "live"),
    [
        ("index.m3u8", LiveOptions(max_latency_s=5, segment_s=1)),
        ("index.m3u8", LiveOptions(max_latency_s=5, segment_s=1, hls_type="ts")),
        ("cam-%05d.mp4", LiveOptions(max_latency_s=5, segment_s=1)),
        ("cam.mp4", LiveOptions(max_latency_s=5)),
    ],
    ids=["hls-fmp4", "hls-ts", "timed-mp4", "one-mp4"],
)
def test_full_disk_ends_the_stream_and_is_counted(
    clip: Path, disk: Path, name: str, live: LiveOptions, capfd: pytest.CaptureFixture[str]
) -> None:
    with Live(str(clip), disk / name, live=live, encoder="libx264", crf=0, overwrite=True) as running:
        failure = running.fail()
    assert failure.exit_code == 6
    assert "Traceback" not in capfd.readouterr().err
    assert "No space left on device" in failure.message
    report = running.telemetry.snapshot()
    assert report["state"]["sink"] != "connected"
    assert report["frames_in"] == report["frames_out"] + sum(report["dropped"].values())
    if name == "index.m3u8":
        segments = [line for line in (disk / name).read_text().splitlines() if line and not line.startswith("#")]
        assert segments
        assert all((disk / segment).stat().st_size > 1000 for segment in segments)
    for file in disk.glob("cam-0000?.m??"):
        assert len(times(file)) == 2 * RATE  # a key frame every two seconds: what has its name is whole
