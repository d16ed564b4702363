"""What plain `pytest` runs, and shared fixtures: real clips where STREAMSR_DATA names them, and signal handlers that are put back."""

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
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

# deadlines measure the machine, not the code
settings.register_profile("streamsr", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("streamsr")

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1200,800",
)  # fmt: skip

# What plain `pytest` leaves out, beside the marks slow, network and gpu: it takes minutes, gigabytes, or programs and packages of the
# extra `test-all`. `STREAMSR_TESTS=all pytest`, as .ci/run does it, runs everything; so does naming files, or -m.
OPTIONAL = {
    "browsers": (
        "trial", "vote", "compare/test_html_report.py", "live/test_hls_browser.py", "live/test_page.py", "live/test_watched_run.py",
    ),
    "a simulated GPU": ("device",),
    "CUDA kernels built for the CPU": ("kernels",),
    "Ray": ("jobs/test_ray_cluster.py",),
    "servers": ("live/test_prometheus.py", "live/test_preview.py", "live/test_crowds.py", "live/test_monitoring.py"),
    "TensorRT": ("engines/test_tensorrt.py", "engines/test_plan_builder.py", "compare/test_pban_gpu.py"),
    "the trainer and torch": ("trainer", "engines/test_torch.py", "engines/test_onnx_file.py"),
}
# Files that take longest, in this order: pytest-xdist begins with them (--dist loadfile), so that no process is left alone with one at
# the end. Live streams mostly wait, and in time: they are one unit of work, so that one process has them all.
WAITING = "live"
LONGEST = (
    "live/test_rtsp.py", "jobs/test_ray_cluster.py", "trainer/test_stage_loop.py", "trainer/metric/test_learned_metric.py",
    "trainer/export/test_export_run.py", "jobs/test_worker_pool.py", "trainer/test_training_loop.py", "trainer/metric/test_refine.py",
    "trainer/metric/test_pban_network.py", "kernels/test_nvrtc.py", "test_interrupt.py", "trainer/test_ablation.py",
    "kernels/test_attention_kernels.py", "io/test_real_clips.py", "compare/test_comparison.py",
)  # fmt: skip
TESTS = Path(__file__).parent
CLIPS = Path(os.environ["STREAMSR_DATA"]) / "clips" if "STREAMSR_DATA" in os.environ else None


def pytest_configure(config: pytest.Config) -> None:
    is_plain = config.args_source is not pytest.Config.ArgsSource.ARGS and not config.option.markexpr
    if is_plain and "STREAMSR_TESTS" not in os.environ:
        os.environ["STREAMSR_TESTS"] = "core"  # for the processes of pytest-xdist too
    if os.environ.get("STREAMSR_TESTS") == "core" and not config.option.markexpr:
        config.option.markexpr = "not slow and not network and not gpu"


def pytest_report_header() -> str:
    if os.environ.get("STREAMSR_TESTS") != "core":
        return "tests: all"
    return f"tests: the core; STREAMSR_TESTS=all adds {', '.join(OPTIONAL)}, and what is slow or opens sockets"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """See LONGEST."""
    places = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is none
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Files as the units of work, but for WAITING."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return WAITING if file.startswith(f"tests/{WAITING}/") else file

    return ByFile(config, log)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if os.environ.get("STREAMSR_TESTS") != "core":
        return None
    left_out = {TESTS / name for names in OPTIONAL.values() for name in names}
    return True if collection_path in left_out else None


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


@pytest.fixture(autouse=True)
def _priority() -> Iterator[None]:
    """A test that opens SVT-AV1 without `keep_priority` leaves its process at real-time priority, and all others wait for it."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0)
    yield
    if os.sched_getscheduler(0) != before:
        os.sched_setscheduler(0, before, os.sched_param(0))
        pytest.fail("this test left its thread with another scheduling policy: open SVT-AV1 within keep_priority()")


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
