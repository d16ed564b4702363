"""What a GPU reaches at best, the network of a model alone on it, and the same network as others run it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamsr.engines.gpu_engines import open_on_device
from streamsr.models import ModelSpec

WARM, SECONDS = 5, 1.0
STREAMS = 3  # frames in flight


def measure_peaks(side: int = 8192, bytes_moved: int = 1 << 30) -> dict[str, float]:
    """Floating-point operations a second of a large half-precision matrix product, and bytes a second of a copy (read and written)."""
    import cupy

    a, b = (cupy.random.standard_normal((side, side), dtype=np.float32).astype(np.float16) for _ in range(2))
    out = cupy.empty((side, side), np.float16)
    source, target = cupy.zeros(bytes_moved, np.uint8), cupy.empty(bytes_moved, np.uint8)
    product_s = seconds_of(lambda: cupy.matmul(a, b, out=out))
    copy_s = seconds_of(lambda: cupy.copyto(target, source))
    return {"flops": 2 * side**3 / product_s, "bytes_per_s": 2 * bytes_moved / copy_s}


def seconds_of(work: Callable[[], Any], *, seconds: float = SECONDS) -> float:
    """Of one call on CuPy's current stream, by events around many."""
    import cupy

    for _ in range(WARM):
        work()
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    cupy.cuda.get_current_stream().synchronize()
    started, count = time.perf_counter(), 0
    begin.record()
    while time.perf_counter() - started < seconds:
        for _ in range(4):
            work()
        count += 4
        cupy.cuda.get_current_stream().synchronize()
    end.record()
    end.synchronize()
    return float(cupy.cuda.get_elapsed_time(begin, end)) / 1000 / count


def measure_network(spec: ModelSpec, size: tuple[int, int], engine: str) -> dict[str, Any]:
    """Planes a second through the model's engine on arrays of the GPU, `STREAMS` lanes side by side as in the pipeline."""
    import cupy

    shape = (1, size[1] + -size[1] % spec.size_multiple, size[0] + -size[0] % spec.size_multiple)
    network, handover = open_on_device(spec, shape, engine=engine, device="cuda:0", wait=True)
    try:
        lanes = [network.open_lane(*shape) for _ in range(1 if spec.states else STREAMS)]
        streams = [cupy.cuda.Stream(non_blocking=True) for _ in lanes]
        n, h, w = shape
        lumas = [cupy.random.random((n, 1, h, w), dtype=np.float32).astype(network.dtype) for _ in lanes]
        outs = [cupy.empty((n, 1, h * spec.scale, w * spec.scale), network.dtype) for _ in lanes]
        states = [tuple(cupy.zeros((n, s.channels, s.scale * h, s.scale * w), network.dtype) for s in spec.states) for _ in range(2)]

        def work(number: int) -> None:
            place = number % len(lanes)
            lanes[place].enqueue(
                lumas[place], outs[place], states[number % 2], states[(number + 1) % 2], stream=streams[place].ptr
            )  # fmt: skip

        for number in range(2 * len(lanes) + WARM):
            work(number)
        cupy.cuda.Device().synchronize()
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS:
            for _ in range(2 * len(lanes)):
                work(count)
                count += 1
            for stream in streams:
                stream.synchronize()
        took = time.perf_counter() - started
        for lane in lanes:
            lane.close()
        return {"fps": count / took, "ms": took / count * 1000, "engine": network.name, "precision": network.precision,
                "reason": network.reason}  # fmt: skip
    finally:
        if handover is not None:
            handover.close()
        network.close()


def measure_peers(
    specs: list[ModelSpec], sizes: dict[str, tuple[int, int]], budget: Any, *, clip: Path, say: Callable[[str], None]
) -> list[dict[str, Any]]:  # fmt: skip
    """The same networks at 1080p in plain torch, torch.compile and ONNX Runtime, in half precision, one plane at a time; and the
    whole job but the encoder in VapourSynth with vs-mlrt, on `clip`, which is of that size."""
    rows = []
    peers: dict[str, tuple[str, Callable[[ModelSpec, tuple[int, int]], float]]] = {
        "torch eager": ("torch", lambda spec, size: measure_torch(spec, size, is_compiled=False)),
        "torch.compile": ("torch", lambda spec, size: measure_torch(spec, size, is_compiled=True)),
        "ONNX Runtime CUDA": ("onnxruntime", measure_onnxruntime),
        "vs-mlrt with decoder": ("vapoursynth", lambda spec, _: measure_vs_mlrt(spec, clip)),
    }
    for spec in [spec for spec in specs if spec.scale == 2 and not spec.states]:
        for name, (package, work) in peers.items():
            title = f"{name}, {spec.name} 1080p x2"
            if importlib.util.find_spec(package) is None:
                budget.not_run.append(f"{title}: {package} is not installed")
                continue
            if not budget.allows(title, 8.0 if name != "torch.compile" else 45.0):
                continue
            ms = budget.attempt(title, lambda work=work, spec=spec: work(spec, sizes["1080p"]))
            if ms is not None:
                rows.append({"peer": name, "model": spec.name, "ms": ms, "fps": 1000 / ms})
                say(f"{title}: {ms:.2f} ms")
    return rows


def measure_torch(spec: ModelSpec, size: tuple[int, int], *, is_compiled: bool) -> float:
    """Milliseconds a plane of the network as torch runs it, half precision; compiled: with torch.compile and its CUDA graphs."""
    import torch

    from streamsr.engines.torch_engine import load_network

    network: Any = load_network(spec, "f16").to("cuda:0")
    if is_compiled:
        network = torch.compile(network, mode="reduce-overhead", dynamic=False)
    luma = torch.rand((1, 1, size[1], size[0]), device="cuda:0").half()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with torch.inference_mode():
        for _ in range(WARM):
            network(luma)
        torch.cuda.synchronize()
        count, started = 0, time.perf_counter()
        begin.record()
        while time.perf_counter() - started < SECONDS:
            for _ in range(4):
                network(luma)
            count += 4
            torch.cuda.synchronize()
        end.record()
        end.synchronize()
    return float(begin.elapsed_time(end)) / count


def measure_onnxruntime(spec: ModelSpec, size: tuple[int, int]) -> float:
    """Milliseconds a plane in ONNX Runtime's CUDA provider, with input and output bound to the GPU. Raises RuntimeError without it."""
    import cupy
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise RuntimeError("this onnxruntime has no CUDA (pip install onnxruntime-gpu)")
    session = ort.InferenceSession(spec.read(), providers=["CUDAExecutionProvider"])
    luma = cupy.random.random((1, 1, size[1], size[0]), dtype=np.float32)
    out = cupy.empty((1, 1, size[1] * spec.scale, size[0] * spec.scale), np.float32)
    binding = session.io_binding()
    binding.bind_input(session.get_inputs()[0].name, "cuda", 0, np.float32, luma.shape, luma.data.ptr)
    binding.bind_output(session.get_outputs()[0].name, "cuda", 0, np.float32, out.shape, out.data.ptr)
    for _ in range(WARM):
        session.run_with_iobinding(binding)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        count += 1
    return (time.perf_counter() - started) / count * 1000


def measure_vs_mlrt(spec: ModelSpec, clip: Path) -> float:
    """Milliseconds a frame from the file to raw pictures in a pipe, with its start. Raises RuntimeError where it fails."""
    script = Path(__file__).with_name("vs_mlrt.py")
    command = [sys.executable, str(script), str(clip), str(spec.path), str(spec.scale), str(STREAMS), "cuda"]
    with av.open(str(clip)) as container:
        count = sum(1 for packet in container.demux(video=0) if packet.size)
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it failed"])[-1])
    return (time.perf_counter() - started) / count * 1000
