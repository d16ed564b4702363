"""What a measurement ran on: hardware, versions, and the arithmetic peak of this machine measured now."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from streamsr.engines import count_threads

PACKAGES = ("streamsr", "av", "numpy", "openvino", "onnxruntime", "torch")


def describe() -> dict[str, Any]:
    """Hardware and versions, for the results file."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "absent"
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu, "cores": count_threads(0), "machine": platform.machine(),
        "system": platform.system(), "python": platform.python_version(),
        "load_before": load, "versions": versions, "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def measure_peak(precision: str, seconds: float = 3.0) -> float:
    """Multiply-adds a second that OpenVINO reaches here at best on an easy case: 3x3 convolutions of 128 channels, all cores.

    precision: "f32", "bf16" or "int8" (int8 through FakeQuantize, as NNCF writes it).
    """
    import openvino as ov
    from openvino import opset13 as ops

    channels, side = 128, 64
    rng = np.random.default_rng(0)
    data = ops.parameter([1, channels, side, side], np.float32)
    weights: Any = ops.constant(rng.standard_normal((channels, channels, 3, 3)).astype(np.float32) * 0.1)
    value: Any = data
    for _ in range(3):
        if precision == "int8":
            value = ops.fake_quantize(value, _level(0.0), _level(6.0), _level(0.0), _level(6.0), 256)
            kernel = ops.fake_quantize(weights, _level(-0.5), _level(0.5), _level(-0.5), _level(0.5), 255)
        else:
            kernel = weights
        value = ops.relu(ops.convolution(value, kernel, [1, 1], [1, 1], [1, 1], [1, 1]))
    hint = {"f32": "f32", "bf16": "bf16", "int8": "f32"}[precision]
    compiled = ov.Core().compile_model(ov.Model([value], [data]), "CPU", {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    request.infer([rng.random((1, channels, side, side), np.float32)])
    times = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        at = time.perf_counter()
        request.infer()
        times.append(time.perf_counter() - at)
    return 3 * channels * channels * 9 * side * side / min(times)


def _level(value: float) -> Any:
    from openvino import opset13 as ops

    return ops.constant(np.array(value, np.float32))
