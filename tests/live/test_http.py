"""HTTP: a live HLS stream is held to its own pace, a film on a web server is no live stream."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from media import make_clip, streamsr, times, tone
from servers import PATIENCE_S, Live, free_port, sender

from streamsr.live.address import is_file_behind
from streamsr.options import LiveOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

RATE = 10
X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", RATE, "-pix_fmt", "yuv420p"]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The URL of a web server over `tmp_path / "www"`."""
    (tmp_path / "www").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "www")))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_live_hls_stream_is_not_dropped_for_coming_in_pieces(web: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.ts", *X264, "-c:a", "aac", rate=str(RATE), num_frames=60 * RATE, inputs=tone(60))
    index = tmp_path / "www" / "live.m3u8"
    # segments of two seconds come at once: without a pace of their own 20 frames would be in the buffer, and all but the last be late
    hls = ["-f", "hls", "-hls_time", 2, "-hls_list_size", 5, "-hls_flags", "delete_segments", index]
    with sender("-re", "-i", clip, "-c", "copy", *hls):
        end = time.monotonic() + PATIENCE_S
        while not index.exists() or index.read_text().count("#EXTINF") < 2:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert not is_file_behind(f"{web}/live.m3u8", 10)
        with Live(f"{web}/live.m3u8", tmp_path / "out.mkv", live=LiveOptions(max_latency_s=1, timeout_s=10)) as live:
            live.until_out(6 * RATE)
            report = live.end()
    assert sum(report.dropped.values()) < RATE
    assert len(times(tmp_path / "out.mkv")) == report.num_out + report.num_held


def test_a_film_on_a_web_server_keeps_every_frame(web: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "www" / "film.mp4", num_frames=100)
    assert is_file_behind(f"{web}/film.mp4", 10)
    outcome = streamsr("run", f"{web}/film.mp4", tmp_path / "out.mp4", "--model", "resize")
    assert outcome.code == 0, outcome.err
    assert "100 decoded" in outcome.err
    assert times(tmp_path / "out.mp4") == times(clip)


def test_what_is_not_there_is_told(web: str, tmp_path: Path) -> None:
    outcome = streamsr("run", f"{web}/nothing.m3u8", tmp_path / "out.mkv")
    assert outcome.code == 3
    assert "404" in outcome.err


def test_a_film_behind_a_password_shows_it_nowhere(web: str, tmp_path: Path) -> None:
    make_clip(tmp_path / "www" / "film.mp4", num_frames=5)
    url = web.replace("http://", "http://user:hunter2@") + "/film.mp4"
    outcome = streamsr("run", url, tmp_path / "out.mp4", "--model", "resize", "--report", tmp_path / "report.json")
    assert outcome.code == 0, outcome.err
    missing = streamsr("run", url.replace("film", "other"), tmp_path / "other.mp4", "--no-live")
    shown = [outcome.err, missing.err, (tmp_path / "report.json").read_text(), streamsr("info", url).out]
    assert missing.code == 3
    assert all("hunter2" not in text for text in shown), shown
    assert all("user" not in text for text in shown), shown


@pytest.mark.parametrize("key", ["token", "X-Amz-Signature"])
def test_a_key_in_a_query_shows_neither_in_info_nor_in_verify(web: str, tmp_path: Path, key: str) -> None:
    clip = make_clip(tmp_path / "www" / "film.mp4", num_frames=5)
    url, other = f"{web}/film.mp4?{key}=hunter2", f"{web}/other.mp4?{key}=hunter2"
    shown = [streamsr(*words) for words in (("info", url), ("info", url, "--json"), ("verify", url, clip), ("verify", url, clip, "--json"))]
    rtsp = f"rtsp://127.0.0.1:{free_port()}/other.mp4?{key}=hunter2"  # nobody listens
    wrong = [("info", other), ("verify", other, clip), ("verify", clip, other), ("info", rtsp), ("verify", rtsp, clip)]
    failed = [streamsr(*words) for words in wrong]
    assert [outcome.code for outcome in shown] == [0] * 4, shown
    assert [outcome.code for outcome in failed] == [3] * 5, failed
    assert all("hunter2" not in outcome.out + outcome.err for outcome in (*shown, *failed))
    assert all(f"{key}=***" in outcome.out for outcome in shown[:2])
    assert all(f"other.mp4?{key}=***" in outcome.err for outcome in failed)
