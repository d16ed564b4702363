"""What benchmarks/fps_gpu.py measures and lists, on a simulated GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import types
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_module import open_benchmark
from make_model import make_network, write_model
from test_device_upscaler import on_device

from streamsr.engines import zero_state
from streamsr.errors import EngineError
from streamsr.models import find_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fps_gpu() -> Any:
    return open_benchmark("fps_gpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(make_network(channels=4, layers=3), tmp_path_factory.mktemp("model"), int8=False)


def test_the_pipeline_is_measured_whole(fps_gpu: Any, model: Path) -> None:
    frames = fps_gpu.make_frames(64, 48)
    assert not np.array_equal(np.asarray(frames[0].planes[0]), np.asarray(frames[1].planes[0]))
    upscaler, sim, _ = on_device(model)
    with upscaler:
        found = fps_gpu.measure_pipeline(upscaler, frames)
    assert found["fps"] > 0
    assert 0 <= found["host_ms"] <= 1000 / found["fps"] * 1.01
    assert found["vram_bytes"] == sim.peak


def test_latency_has_a_tail(fps_gpu: Any, model: Path) -> None:
    found = fps_gpu.measure_latency(lambda: on_device(model, hint="latency")[0], fps_gpu.make_frames(64, 48), num=40)
    assert 0 < found["p50_ms"] <= found["p99_ms"]


def test_what_fails_or_does_not_fit_is_listed(fps_gpu: Any) -> None:
    def fail() -> None:
        raise EngineError("no such engine")

    budget = fps_gpu.Budget(0.0)
    assert budget.attempt("a cell", fail) is None
    assert not budget.allows("another", 5.0)
    assert budget.not_run == ["a cell: EngineError: no such engine", "another: no time left"]


def test_a_peer_that_fails_is_listed_with_its_words(fps_gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VapourSynth's program is told the model and the clip; without VapourSynth it fails."""
    peers, budget, spec = fps_gpu.fps_peers, fps_gpu.Budget(1000.0), find_model("lite", 2)
    clip = fps_gpu.make_clip(tmp_path, "in", (64, 48), num=12)
    assert budget.attempt("vs-mlrt", lambda: peers.measure_vs_mlrt(spec, clip)) is None
    assert budget.not_run == ["vs-mlrt: RuntimeError: ModuleNotFoundError: No module named 'vapoursynth'"]
    monkeypatch.setattr(peers.sys, "executable", "true")
    assert peers.measure_vs_mlrt(spec, clip) > 0
    monkeypatch.undo()
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda package: None)
    budget = fps_gpu.Budget(1000.0)
    assert peers.measure_peers([spec], fps_gpu.SIZES, budget, clip=clip, say=print) == []
    assert [line.split(",")[0] for line in budget.not_run] == ["torch eager", "torch.compile", "ONNX Runtime CUDA", "vs-mlrt with decoder"]


def test_what_is_known_is_kept_after_each_part(fps_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[dict[str, Any]] = []
    cells = iter([{"model": "lite"}, {"model": "lite"}])

    def measure_cell(*_: object) -> dict[str, str]:
        return next(cells, None) or sys.exit("killed")

    asked: list[list[str]] = []
    monkeypatch.setattr(fps_gpu, "measure_cell", measure_cell)
    monkeypatch.setattr(fps_gpu.fps_report, "describe", str)
    monkeypatch.setattr(fps_gpu.fps_peers, "measure_peaks", lambda: {"flops": 1.0})
    monkeypatch.setattr(
        fps_gpu.fps_peers, "measure_peers", lambda specs, *_, **__: asked.append([spec.name for spec in specs]) or [{"peer": "torch"}]
    )
    with pytest.raises(SystemExit):
        fps_gpu.measure(models=["lite"], keep=lambda found: kept.append(json.loads(json.dumps(found))), say=lambda words: None)
    assert [len(found["cells"]) for found in kept] == [1, 2]
    assert kept[0]["peers"] == [{"peer": "torch"}]
    assert asked == [["lite"]], "the others come beside the headline, before there is no time left"


def test_the_share_of_the_peak_is_work_over_rate(fps_gpu: Any) -> None:
    spec = find_model("lite", 2)
    peaks = {"flops": 2.0 * spec.macs_per_pixel * 1000 * 50, "bytes_per_s": 4.0 * spec.channels * spec.layers * 1000 * 100}
    found = fps_gpu.share(spec, (100, 10), 25.0, peaks)
    assert found == {"matrix": pytest.approx(0.5), "memory": pytest.approx(0.25)}
    assert zero_state(spec, 4, 4) == ()


def test_results_are_lines_and_a_picture(fps_gpu: Any, tmp_path: Path) -> None:
    whole = {"model": "lite", "size": "1080p", "scale": 2, "network": {"fps": 400.0, "engine": "torch"},
             "pipeline": {"fps": 300.0, "host_ms": 0.5, "vram_bytes": 2.0**30}, "latency": {"p50_ms": 4.0, "p99_ms": 5.0},
             "files": {"with_decoder_fps": 250.0, "decoder": "NVDEC", "end_to_end auto": {"fps": 60.0}}}  # fmt: skip
    empty = whole | {"network": None, "pipeline": None, "latency": None, "files": None}
    assert fps_gpu.fps_report.describe(whole) == (
        "lite 1080p x2: network 400 fps on torch, pipeline 300 (0.50 ms of the host, 1024 MiB), "
        "with decoder 250, end to end auto 60 fps, latency 4.0 ms (p99 5.0)"
    )
    assert fps_gpu.fps_report.describe(empty) == "lite 1080p x2"
    fps_gpu.fps_report.draw({"cells": [whole, empty]}, tmp_path / "fps.svg")
    shapes = ElementTree.parse(tmp_path / "fps.svg").getroot()
    bars = [float(shape.get("width", "")) for shape in shapes.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert bars[:4] == [pytest.approx(width, abs=0.1) for width in (730, 730 * 300 / 400, 730 * 250 / 400, 730 * 60 / 400)]
    assert bars[4:] == [0.0] * 4
    assert "400" in [shape.text for shape in shapes.iter("{http://www.w3.org/2000/svg}text")]


def test_a_clip_is_what_it_is_called(fps_gpu: Any, tmp_path: Path) -> None:
    import av

    with av.open(str(fps_gpu.make_clip(tmp_path, "in", (64, 48), num=12))) as container:
        frames = list(container.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (12, 64, 48)


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Any:
    path = ROOT / "scripts" / "gpu_check"
    module = types.ModuleType("gpu_check")
    module.__file__ = str(path)
    exec(compile(path.read_text(), path, "exec"), module.__dict__)
    monkeypatch.setattr(module, "GRACE_S", 5.0)
    return module


def test_gpu_check_runs_every_test_of_a_gpu(gpu_check: Any) -> None:
    """Files in folders that are none of its parts would be forgotten."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if path.name != Path(__file__).name]
    marked = {str(path.relative_to(ROOT)) for path in files if "pytest.mark.gpu" in path.read_text()}
    assert {name for part in gpu_check.PARTS for name in gpu_check.find_tests(part)} == marked
    assert len(marked) >= 6


def test_gpu_check_names_all_that_streamsr_needs(gpu_check: Any) -> None:
    """In a clone that is not installed; OpenVINO is for CPUs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=]", each)[0] for each in project["dependencies"]}
    assert names - {"openvino"} <= gpu_check.NEEDED.keys()
    packages = [package.strip("'").partition("[")[0] for _, package in gpu_check.NEEDED.values()]
    for text in (gpu_check.__doc__, (ROOT / "docs/gpu.md").read_text()):
        (line,) = [line for line in text.splitlines() if "pip install 'cupy-cuda12x[ctk]' torch" in line]
        assert all(package in line for package in packages)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_gpu_check_ends_a_part_that_takes_too_long_and_keeps_its_results(
    gpu_check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell leaves it to what runs in the background
    (tmp_path / "test_slow.py").write_text(
        "import pathlib, subprocess, sys, time, pytest\n"
        "pytestmark = pytest.mark.gpu\n"
        "def test_first(): pass\n"
        "def test_second():\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    monkeypatch.setattr(gpu_check, "find_tests", lambda part: [str(tmp_path / "test_slow.py")])
    seconds = 1.0
    while not (tmp_path / "pid").exists():  # a busy machine may take long to start Python
        seconds *= 3
        assert seconds < 300
        code, counts, missing = gpu_check.run_tests("slow", tmp_path, seconds, dict(os.environ))
    signal.signal(signal.SIGINT, before)
    assert code == 1
    assert counts["passed"] == 1
    assert "were ended after" in missing[-1]
    child = int((tmp_path / "pid").read_text())
    until = time.monotonic() + 60
    while is_running(child):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="there may be a GPU here")
def test_gpu_check_without_a_driver_says_what_is_missing(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "gpu_check"), "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [done.stderr.strip()]
    assert "no driver" in done.stderr
    assert "nvidia-smi" in done.stderr


@pytest.mark.parametrize("broken", ["", "probes", "tests", "numbers"])
def test_gpu_check_reads_from_top_to_bottom_and_says_what_to_do(
    gpu_check: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], broken: str
) -> None:
    """Its steps in their order, each of which is played here."""

    def run_part(command: list[str], seconds: float, environment: dict[str, str]) -> int | None:
        name = Path(next(word for word in command[1:] if not word.startswith("-"))).stem
        print(f"[{name}]", flush=True)
        if "--output" in command and broken != "numbers":
            Path(command[command.index("--output") + 1]).write_text('{"not_run": ["x4: no time left"]}')
        return None if name == "gpu_probes" and broken == "probes" else 0

    def run_tests(part: str, *_: Any) -> tuple[int, Counter[str], list[str]]:
        failed = broken == "tests" and part == "device"
        return int(failed), Counter(passed=3, failure=int(failed)), ["a skipped test"] if part == "engines" else []

    monkeypatch.setattr(gpu_check, "find_gpus", lambda: ["cuda:0 NVIDIA Simulated"])
    monkeypatch.setattr(gpu_check, "has", lambda module: module != "cupy")
    monkeypatch.setattr(gpu_check, "run_part", run_part)
    monkeypatch.setattr(gpu_check, "run_tests", run_tests)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--output", str(tmp_path)])
    code = gpu_check.main()
    said = capfd.readouterr().out
    places = [said.index(words) for words in ("1 of 5", "cuda:0", "pip install 'cupy-cuda12x[ctk]'", "2 of 5", "[gpu_probes]", "3 of 5",
              "[streamsr]", "4 of 5", "tests/kernels", "tests/engines", "5 of 5", "[kernels]", "[fps_gpu]", "tests ")]  # fmt: skip
    assert places[:-1] == sorted(places[:-1])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {"frames on a GPU: cupy is not installed", "a skipped test"} <= set(summary["not_run"])
    assert all(f"not run: {line}" in said for line in summary["not_run"])
    assert code == summary["tests"] == int(broken == "tests")
    wanted = {"": [], "probes": ["probes"], "tests": ["tests/device"], "numbers": ["numbers of the kernels", "frames a second"]}[broken]
    assert summary["failed"] == wanted
    assert said.count("failed: ") == len(wanted)
    if broken == "tests":
        assert "-m pytest -m gpu -x tests/device" in said
        assert "docs/gpu.md" in said


def test_probes_that_cannot_be_answered_say_where_to_look() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "gpu_probes.py")]
    done = subprocess.run([*command, "flags"], capture_output=True, text=True, check=True)
    if "not answered" in done.stdout:
        assert "nvidia-smi" in done.stdout
    unknown = subprocess.run([*command, "colours"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "Probes: flags, legacy, half, cudnn, headers" in unknown.stderr
