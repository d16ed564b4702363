"""Shared fixtures: real clips where STREAMSR_DATA names them, and signal handlers put back after each run in this process."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# deadlines measure the machine, not the code
settings.register_profile("streamsr", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("streamsr")

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
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with the argument `real_clip` runs once for each real clip."""
    if "real_clip" in metafunc.fixturenames:
        names = real_clips()
        skip = pytest.mark.skip(reason="STREAMSR_DATA names no folder with clips")
        metafunc.parametrize("real_clip", names or [pytest.param("", marks=skip)])
