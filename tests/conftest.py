"""Shared fixtures: real clips where STREAMSR_DATA names them, a browser, and signal handlers put back after each run in this process."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from selenium import webdriver

# deadlines measure the machine, not the code
settings.register_profile("streamsr", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("streamsr")

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,800",
)  # fmt: skip

CLIPS = Path(os.environ["STREAMSR_DATA"]) / "clips" if "STREAMSR_DATA" in os.environ else None


def real_clips() -> list[str]:
    """Names of the real clips; empty where there are none."""
    if CLIPS is None or not (CLIPS / "MANIFEST.csv").is_file():
        return []
    with (CLIPS / "MANIFEST.csv").open() as rows:
        return [row["file"] for row in csv.DictReader(rows)]


@pytest.fixture
def faults() -> Path:
    """The folder of small files that went wrong in other programs; skips without it."""
    folder = None if CLIPS is None else CLIPS.with_name("faults")
    if folder is None or not folder.is_dir():
        pytest.skip("STREAMSR_DATA names no folder with faults")
    return folder


@pytest.fixture
def clips() -> Path:
    """The folder of real clips; skips without it."""
    if not real_clips():
        pytest.skip("STREAMSR_DATA names no folder with clips")
    assert CLIPS is not None
    return CLIPS


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """`streamsr run` installs handlers of its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Headless Chromium; skips without it, or fails where STREAMSR_REQUIRE names it."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "Debian's chromium and chromium-driver are not installed"
        if "chromium" in os.environ.get("STREAMSR_REQUIRE", ""):
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `real_clip` runs once for each real clip."""
    if "real_clip" in metafunc.fixturenames:
        names = real_clips()
        skip = pytest.mark.skip(reason="STREAMSR_DATA names no folder with clips")
        metafunc.parametrize("real_clip", names or [pytest.param("", marks=skip)])
