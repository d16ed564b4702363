"""Fixtures: a Watch on free ports, a stream that plays to it, and a browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_show import Show
from media import make_clip
from selenium import webdriver

from streamsr.live.endpoint import Endpoint
from streamsr.live.monitoring import Watch, WatchOptions

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,800",
)  # fmt: skip


@pytest.fixture(scope="session")
def moving_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty different pictures of 160x90."""
    return make_clip(tmp_path_factory.mktemp("live") / "moving.mp4", size="160x90", num_frames=50)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Metrics and preview on free ports of this machine."""
    here = Endpoint("127.0.0.1", 0)
    with Watch(WatchOptions(metrics=here, preview=here)) as opened:
        yield opened


@pytest.fixture
def show(watch: Watch, moving_clip: Path) -> Iterator[Show]:
    """One stream called "front door" that plays."""
    playing = Show("front door", watch, moving_clip).start()
    yield playing
    playing.stop()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium; skips without it, or fails where STREAMSR_REQUIRE names it."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "Debian's chromium and chromium-driver are not installed"
        if "chromium" in os.environ.get("STREAMSR_REQUIRE", ""):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()
