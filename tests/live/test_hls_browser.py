"""A live HLS folder in headless Chromium, played by hls.js as a web page would."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from media import make_clip
from selenium import webdriver
from servers import Live, node_module
from web import until

from streamsr.options import LiveOptions

pytestmark = [pytest.mark.network, pytest.mark.slow]

PAGE = """<!doctype html><video muted autoplay></video><script src="hls.js"></script><script>
  const failures = [], hls = new Hls(), video = document.querySelector("video");
  hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) failures.push(data.details); });
  hls.loadSource("index.m3u8");
  hls.attachMedia(video);
</script>"""
STATE = "return [video.currentTime, video.videoWidth, video.videoHeight, video.webkitAudioDecodedByteCount, failures]"


class Files(SimpleHTTPRequestHandler):
    """Files of a folder, with nothing on stderr."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with a page and hls.js in it, and its URL."""
    shutil.copy(node_module("hls.js") / "dist" / "hls.min.js", tmp_path / "hls.js")
    (tmp_path / "page.html").write_text(PAGE)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}/page.html"
        server.shutdown()


@pytest.mark.parametrize("hls_type", ["fmp4", "ts"])
def test_a_browser_plays_picture_and_audio(browser: webdriver.Chrome, folder: tuple[Path, str], tmp_path: Path, hls_type: str) -> None:
    hls, url = folder
    audio = ["-f", "lavfi", "-i", "anoisesrc=sample_rate=48000:seed=1:duration=40"]
    clip = make_clip(tmp_path / "in.mkv", "-c:a", "mp2", "-shortest", size="64x48", rate="10", num_frames=400, inputs=audio)
    live = LiveOptions(max_latency_s=5, hls_type=hls_type, segment_s=1)
    with Live(str(clip), hls / "index.m3u8", live=live, overwrite=True) as running:
        running.until(lambda _: (hls / "index.m3u8").exists() and (hls / "index.m3u8").read_text().count("#EXTINF") >= 3)
        browser.get(url)
        until(lambda: browser.execute_script(STATE)[0] > 1)
        first, width, height, audio_bytes, failures = browser.execute_script(STATE)
        assert (width, height) == (128, 96)
        assert audio_bytes > 0
        until(lambda: browser.execute_script(STATE)[0] > first + 2)
        assert failures == []
        running.stop.set()
    browser.get("about:blank")
