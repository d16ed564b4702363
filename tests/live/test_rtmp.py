"""RTMP in and out, with node-media-server between streamsr and FFmpeg's program."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from media import make_clip, streams, times
from servers import PATIENCE_S, Live, free_port, node_module, sender, system_ffmpeg

from streamsr.options import LiveOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

RATE = 10
BRISK = LiveOptions(max_latency_s=5, timeout_s=3)
AUDIO = ["-f", "lavfi", "-i", "anoisesrc=sample_rate=44100:seed=1:duration=120"]


class RtmpServer:
    """node-media-server in a process; skips the test where it is not installed."""

    def __init__(self, folder: Path) -> None:
        program = node_module("node-media-server") / "bin" / "app.js"
        node = shutil.which("node")
        assert node is not None, "npm installed node-media-server, and node is gone"
        self.port = free_port()
        config = folder / "rtmp.json"
        config.write_text(json.dumps({
            "bind": "127.0.0.1", "rtmp": {"port": self.port}, "store": {"path": str(folder / "data")},
            "auth": {"play": False, "publish": False, "secret": ""},
        }))  # fmt: skip
        self._command = [str(node), str(program), "--config", str(config), "--no-admin"]
        self._folder = folder
        self.start()

    def url(self, name: str) -> str:
        return f"rtmp://127.0.0.1:{self.port}/live/{name}"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_S
        while True:
            assert self._process.poll() is None, "node-media-server ended"
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.05)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RtmpServer]:
    opened = RtmpServer(tmp_path)
    yield opened
    opened.kill()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two minutes, longer than any test."""
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", RATE, "-pix_fmt", "yuv420p"]
    coding = [*x264, "-c:a", "aac", "-shortest"]
    return make_clip(
        tmp_path_factory.mktemp("rtmp") / "in.flv", *coding, size="64x48", rate=str(RATE), num_frames=120 * RATE, inputs=AUDIO
    )


def published(clip: Path, url: str) -> list[object]:
    return ["-re", "-i", clip, "-map", "0", "-c", "copy", "-f", "flv", url]


def receive(url: str, path: Path, seconds: int = 3) -> Path:
    """What FFmpeg's program plays of a stream."""
    command = [system_ffmpeg(), "-v", "error", "-y", "-rw_timeout", "20000000", "-i", url, "-t", seconds, "-map", "0", "-c", "copy", path]
    subprocess.run([str(part) for part in command], check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S)
    return path


def test_in(server: RtmpServer, clip: Path, tmp_path: Path) -> None:
    with sender(*published(clip, server.url("cam"))), Live(server.url("cam"), tmp_path / "out.mkv", live=BRISK) as live:
        live.until_out(3 * RATE)
        report = live.end()
    pictures, audio_streams = times(tmp_path / "out.mkv"), times(tmp_path / "out.mkv", "a:0")
    assert len(pictures) == report.num_out + report.num_held
    assert all(a < b for a, b in pairwise(pictures))
    assert abs(pictures[-1] - audio_streams[-1]) < 1
    assert report.input == f"rtmp://127.0.0.1:{server.port}/live/***"  # the last part is a key


def test_out(server: RtmpServer, clip: Path, tmp_path: Path) -> None:
    with Live(str(clip), server.url("up"), live=BRISK) as live:
        live.until_out(RATE)
        received = receive(server.url("up"), tmp_path / "got.flv")
        report = live.end()
    assert report.output == f"rtmp://127.0.0.1:{server.port}/live/***"
    found = streams(received)
    assert any("h264" in words and "128x96" in words for words in found)
    assert any("aac" in words for words in found)
    pictures = times(received)
    assert len(pictures) >= 2 * RATE
    assert all(a < b for a, b in pairwise(pictures))


def test_a_server_that_dies_is_found_again_on_both_sides(server: RtmpServer, clip: Path, tmp_path: Path) -> None:
    with sender(*published(clip, server.url("cam"))), Live(server.url("cam"), server.url("up"), live=BRISK) as live:
        live.until_out(2 * RATE)
        server.kill()
        live.until(lambda snapshot: set(snapshot["state"].values()) <= {"lost", "connecting"})
        server.start()
        with sender(*published(clip, server.url("cam"))):
            live.until(lambda snapshot: min(snapshot["reconnects"].values()) >= 1)
            live.until_out(RATE)
            receive(server.url("up"), tmp_path / "got.flv", seconds=2)
            live.end()
    assert len(times(tmp_path / "got.flv")) >= RATE


def test_a_port_where_nobody_listens(clip: Path) -> None:
    failure = Live(str(clip), f"rtmp://127.0.0.1:{free_port()}/live/secret", live=LiveOptions(max_latency_s=5, reconnect=1)).fail()
    assert "refused" in failure.message
    assert "secret" not in str(failure)
