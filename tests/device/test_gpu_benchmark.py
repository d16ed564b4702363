"""What benchmarks/fps_gpu.py measures and lists, on a simulated GPU."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_model import make_network, write_model
from test_upscaler import on_device

from streamsr.engines import zero_state
from streamsr.errors import EngineError
from streamsr.models import find_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fps_gpu() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import fps_gpu
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return fps_gpu


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
    fps_gpu.fps_report.draw({"cells": [whole, empty]}, tmp_path / "fps.png")
    assert (tmp_path / "fps.png").read_bytes().startswith(b"\x89PNG")


def test_a_clip_is_what_it_is_called(fps_gpu: Any, tmp_path: Path) -> None:
    import av

    with av.open(str(fps_gpu.make_clip(tmp_path, "in", (64, 48), num=12))) as container:
        frames = list(container.decode(video=0))
    assert (len(frames), frames[0].width, frames[0].height) == (12, 64, 48)


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="there may be a GPU here")
def test_gpu_check_without_a_gpu_fails_and_says_what_was_not_run(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "gpu_check"), "--seconds", "60", "--tests-seconds", "0.01", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "frames on a GPU: cupy is not installed" in summary["not_run"]
    assert "the benchmark gave no results" in summary["not_run"] or "the benchmark: no time left" in summary["not_run"]
    assert all(f"not run: {line}" in done.stdout for line in summary["not_run"])
