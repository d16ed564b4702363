"""A live run as a user starts it, watched through everything there is: log, metrics, health and the page, while its camera dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from media import STREAMSR, make_clip, metadata
from prometheus_client.parser import text_string_to_metric_families as parse
from selenium import webdriver
from selenium.webdriver.common.by import By
from servers import CAMERA, RtspServer
from web import get, until

pytestmark = [pytest.mark.network, pytest.mark.slow]

PASSWORD = "hunter2"
TOKEN = "open-sesame"


class Run:
    """`streamsr run` in a process, with its event lines as they come."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen([*STREAMSR, "run", *map(str, arguments)], stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [row for row in map(json.loads, list(self.lines)) if row["event"] == name]

    def end(self) -> int:
        """Stop it as systemd does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(60)
        self._thread.join()
        return code


@pytest.fixture
def cameras() -> Iterator[RtspServer]:
    with RtspServer(play={"/cam": CAMERA}, user=("admin", PASSWORD)) as server:
        yield server


@pytest.fixture
def run(cameras: RtspServer, tmp_path: Path) -> Iterator[Run]:
    started = Run(
        cameras.url("/cam", f"admin:{PASSWORD}"), tmp_path / "out.mkv", "--model", "resize", "--max-latency", "5000", "--timeout", "2",
        "--metrics", "127.0.0.1:0", "--preview", "127.0.0.1:0", "--preview-token", TOKEN, "--log-json",
        "--report", tmp_path / "report.json",
    )  # fmt: skip
    yield started
    started.process.kill()
    started.wait()


def test_a_camera_that_dies_and_comes_back(run: Run, cameras: RtspServer, browser: webdriver.Chrome, tmp_path: Path) -> None:
    metrics, preview = (until(lambda name=name: run.events(f"{name} served"))[0]["fields"]["url"] for name in ("metrics", "preview"))

    def sample(name: str, **labels: str) -> float:
        samples = [sample for family in parse(get(metrics + "metrics").text) for sample in family.samples]
        (found,) = [sample for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]
        assert found.labels["stream"] == f"rtsp://***@127.0.0.1:{cameras.port}/cam"
        return found.value

    def page(name: str) -> str:
        return browser.find_element(By.ID, name).text

    until(lambda: get(metrics + "readyz").status == 200, wait_s=60)
    until(lambda: sample("streamsr_frames_out_total") > 5)
    browser.get(f"{preview}?token={TOKEN}")
    until(lambda: browser.find_element(By.CSS_SELECTOR, "#after .label").is_displayed())
    until(lambda: page("state") == "live")
    assert "128 × 96" in browser.find_element(By.CSS_SELECTOR, "#after .label").text

    cameras.kill()
    until(lambda: page("state") == "source lost", wait_s=60)
    answer = get(metrics + "readyz")
    assert answer.status == 503
    assert "source lost" in answer.text
    assert get(metrics + "healthz").status == 200
    assert sample("streamsr_connected", side="source") == 0

    cameras.start()
    until(lambda: page("state") == "live", wait_s=60)
    assert get(metrics + "readyz").status == 200
    assert sample("streamsr_reconnects_total", side="source") == 1
    assert sample("streamsr_frames_held_total") > 0

    shown = Path(f"/proc/{run.process.pid}/cmdline").read_text() if os.path.exists("/proc/self/cmdline") else ""
    texts = [get(metrics + "metrics").text, get(metrics + "readyz").text, browser.page_source, shown]
    browser.get("about:blank")
    assert run.end() == 0
    report = json.loads((tmp_path / "report.json").read_text())
    (last,) = run.events("ended")
    assert (last["fields"]["exit_code"], last["level"]) == (0, "info")
    assert run.events("source lost")[0]["level"] == "warning"
    assert report["reconnects"]["source"] == 1
    for text in [*texts, *run.lines, json.dumps(report), metadata(tmp_path / "out.mkv")]:
        assert PASSWORD not in text
        assert TOKEN not in text


def test_a_failure_is_an_event_too(cameras: RtspServer, tmp_path: Path) -> None:
    run = Run(cameras.url("/cam", "admin:wrong"), tmp_path / "out.mkv", "--model", "resize", "--log-json", "--reconnect", "off")
    assert run.wait() == 3
    (last,) = run.events("ended")  # every line was JSON
    assert (last["level"], last["fields"]["exit_code"]) == ("error", 3)
    assert "wrong" not in "".join(run.lines)


def test_a_taken_port_ends_it_before_the_camera_is_asked(tmp_path: Path) -> None:
    from streamsr.live.endpoint import Endpoint, bound, listen

    with listen(Endpoint("127.0.0.1", 0), option="--metrics") as other, listen(Endpoint("127.0.0.1", 0), option="camera") as camera:
        taken, silent = bound(other, Endpoint("127.0.0.1", 0)), bound(camera, Endpoint("127.0.0.1", 0))
        run = Run(f"rtsp://{silent}/cam", tmp_path / "out.mkv", "--metrics", taken)
        assert run.wait() == 2
        assert f"--metrics {taken}: the port is taken" in "".join(run.lines)
        camera.settimeout(0.2)
        with pytest.raises(TimeoutError):  # nobody connected
            camera.accept()


def test_a_file_read_as_live_is_watched(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", num_frames=50)
    run = Run(clip, tmp_path / "out.mkv", "--live", "--model", "resize", "--log-json", "--metrics", "127.0.0.1:0")
    assert run.wait() == 0
    assert run.events("metrics served")
    (last,) = run.events("ended")
    assert last["fields"]["exit_code"] == 0
