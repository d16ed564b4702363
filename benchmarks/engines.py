"""Each engine alone, on planes of luma: milliseconds a plane, and the ratio to the first case, all in one run.

    python benchmarks/engines.py [--model lite] [--scale 2] [--size 640x360] [--threads 1] [--rounds 5] [--output results/NAME.json]

"host": planes in host memory, one after another, with all that takes (conversion to codes, copies to a GPU and back). "lane":
planes that stay on a GPU, launched on one stream. What is not installed, or does not run here, is left out and said. The cases
take turns, in an order that changes, so that a change of the machine's speed meets all of them; ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np

from streamsr.engines import Chroma, open_engine, zero_state
from streamsr.engines.gpus import list_gpus
from streamsr.errors import StreamsrError
from streamsr.models import ModelSpec, find_model
from streamsr.options import Precision

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "openvino": ("f32", "bf16", "int8"), "onnxruntime": ("f32", "int8"), "torch": ("f32", "bf16", "f16"), "tensorrt": ("f16", "f32"),
}  # fmt: skip
CASES = {f"{engine} {precision}": (engine, precision) for engine, precisions in PRECISIONS.items() for precision in precisions}
Run = Callable[[], float]  # one round: seconds a plane


def open_host(spec: ModelSpec, engine: str, precision: Precision, device: str, size: tuple[int, int], threads: int, num_planes: int) -> Run:
    """Planes of the host, one after another."""
    width, height = size
    opened = open_engine(spec, engine=engine, precision=precision, device=device, threads=threads, hint="latency")
    planes = [np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8) for seed in range(4)]
    out = np.empty((spec.scale * height, spec.scale * width), np.uint8)
    samples = np.random.default_rng(9).integers(0, 256, (2, height, width)).astype(np.uint8)
    chroma = Chroma(samples, np.empty_like(samples), (0.3, 0.4)) if spec.has_chroma else None
    opened.prepare(height, width)

    def run() -> float:
        state = zero_state(spec, height, width)
        at = time.perf_counter()
        for index in range(num_planes):
            state = opened.infer(planes[index % len(planes)], out, state, chroma)
        return (time.perf_counter() - at) / num_planes

    return run


def open_lane(spec: ModelSpec, engine: str, precision: Precision, device: str, size: tuple[int, int], num_planes: int) -> Run:
    """Planes that stay on the device."""
    import cupy

    from streamsr.engines.gpu_engines import open_on_device

    width, height = size
    opened, _ = open_on_device(spec, (1, height, width), engine=engine, precision=precision, device=device)
    lane, stream = opened.open_lane(1, height, width), cupy.cuda.Stream(non_blocking=True)
    luma = cupy.random.random((1, 1, height, width), np.float32).astype(opened.dtype)
    out = cupy.zeros((1, 1, spec.scale * height, spec.scale * width), opened.dtype)
    states = [lane.new_state(), lane.new_state()]
    cupy.cuda.get_current_stream().synchronize()

    def run() -> float:
        at = time.perf_counter()
        for index in range(num_planes):
            lane.enqueue(luma, out, states[index % 2], states[1 - index % 2], stream=stream.ptr)
        stream.synchronize()
        return (time.perf_counter() - at) / num_planes

    return run


def open_cases(spec: ModelSpec, size: tuple[int, int], threads: int, num_planes: int) -> tuple[dict[str, Run], dict[str, str]]:
    """What runs here, and why the others do not."""
    gpus = list_gpus()
    runs: dict[str, Run] = {}
    missing: dict[str, str] = {}
    for name, (engine, precision) in CASES.items():
        devices = ["cpu"] if engine != "tensorrt" else []
        devices += [gpus[0].device] if engine in ("torch", "tensorrt") and gpus else []
        if not devices:
            missing[name] = "no NVIDIA GPU"
        for device in devices:
            case = f"{name}, {device}"
            try:
                runs[f"{case}, host"] = open_host(spec, engine, precision, device, size, threads, num_planes)
                if device != "cpu":
                    runs[f"{case}, lane"] = open_lane(spec, engine, precision, device, size, num_planes)
            except (StreamsrError, ImportError) as error:
                missing[case] = str(error)
    for run in runs.values():
        run()  # warm
    return runs, missing


def measure(runs: dict[str, Run], rounds: int) -> dict[str, dict[str, float]]:
    """Median milliseconds, and the median of the ratios to the first case, over rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            seconds[name].append(runs[name]())
    first = seconds[next(iter(runs))]
    rows = {}
    for name, taken in seconds.items():
        ratios = [one / base for one, base in zip(taken, first, strict=True)]
        rows[name] = {
            "ms": round(1000 * statistics.median(taken), 3), "ratio": round(statistics.median(ratios), 3),
            "lowest_ratio": round(min(ratios), 3), "highest_ratio": round(max(ratios), 3),
        }  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--planes", type=int, default=10, help="in a row, of a case in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    spec = find_model(options.model, options.scale)
    width, height = (int(side) for side in options.size.split("x"))
    facts: dict[str, Any] = {"machine": machine.describe(), "gpus": [gpu.name for gpu in list_gpus()]}
    runs, missing = open_cases(spec, (width, height), options.threads, options.planes)
    if not runs:
        sys.exit("no engine runs here")
    rows = measure(runs, options.rounds)
    print(f"{spec.name} x{spec.scale} on {width}x{height}, {options.threads} threads, {options.rounds} rounds of {options.planes} planes")
    for name, row in rows.items():
        spread = f"{row['lowest_ratio']:.2f} to {row['highest_ratio']:.2f}"
        print(f"{name:32s} {row['ms']:8.2f} ms   {row['ratio']:5.2f} of the first ({spread})")
    for name, why in missing.items():
        print(f"{name:32s} left out: {why}")
    if options.output:
        facts |= {"model": f"{spec.name}_x{spec.scale}", "sha256": spec.sha256, "size": [width, height], "threads": options.threads,
                  "planes": options.planes, "rounds": options.rounds, "cases": rows, "left_out": missing}  # fmt: skip
        options.output.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
