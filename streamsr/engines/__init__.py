"""Engines: what runs a model on a plane of luma. One interface, a file each, chosen from the table below.

`open_engine` imports nothing heavier than the engine that it opens.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from streamsr.engines.engine import MAX_STREAMS, BatchEngine, Chroma, Engine, State, count_threads, zero_state
from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec
from streamsr.options import Hint, Precision, check_choice


def _open_openvino(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(spec, **options)  # type: ignore[arg-type]


def _open_onnxruntime(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(spec, **options)  # type: ignore[arg-type]


def _open_resize(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.resize_engine import ResizeEngine

    return ResizeEngine(scale=options["scale"], bits=options["bits"], threads=options["threads"])  # type: ignore[arg-type]


def _open_torch(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.torch_engine import open_torch

    return open_torch(spec, **_without(options, "scale", "hint"))  # type: ignore[arg-type]


def _open_tensorrt(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.tensorrt_engine import open_tensorrt

    return open_tensorrt(spec, **_without(options, "scale", "hint", "threads"))  # type: ignore[arg-type]


def _open_cuda(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.gpu_engines import open_auto

    def cpu_engine() -> str:
        return choose_engine("auto")

    return open_auto(spec, engines=ENGINES, cpu_engine=cpu_engine, **_without(options, "scale", "hint"))  # type: ignore[arg-type]


def _without(options: dict[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in options.items() if name not in names}


__all__ = [
    "ENGINES",
    "INSTALL",
    "MAX_STREAMS",
    "BatchEngine",
    "Chroma",
    "Engine",
    "State",
    "choose_engine",
    "count_threads",
    "describe_model",
    "is_installed",
    "open_engine",
    "zero_state",
]  # fmt: skip
ENGINES: dict[str, Callable[..., Engine]] = {
    "openvino": _open_openvino,
    "onnxruntime": _open_onnxruntime,
    "resize": _open_resize,
    "torch": _open_torch,
    "tensorrt": _open_tensorrt,
    "cuda": _open_cuda,  # TensorRT as soon as it is built: what "auto" is on a GPU (Note [No waiting] of streamsr.engines.gpu_engines)
}
# The pip command for what is missing.
INSTALL = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install 'streamsr[ort]'",
    "torch": "pip install 'streamsr[torch]'",
    "tensorrt": "pip install 'streamsr[cuda12]', 'streamsr[cuda13]' or, for RTX GPUs, 'streamsr[rtx]'",
}
# What "auto" tries on a CPU, in order. OpenVINO first: `lite` x2 of 854x480 took 35 ms of one Zen 4 core in int8, 63 in bf16,
# 118 in f32 (OpenVINO 2026.4); ONNX Runtime 96 in int8, 125 in f32.
CPU_ENGINES = ("openvino", "onnxruntime")


def is_installed(name: str) -> bool:
    """Whether the runtime that an engine needs can be imported; looks it up without importing it."""
    if name in ("tensorrt", "cuda"):
        from streamsr.engines.distributions import installed_flavours

        return bool(installed_flavours())
    return name not in INSTALL or importlib.util.find_spec(name) is not None


def choose_engine(engine: str, device: str = "cpu") -> str:
    """The engine that "auto" stands for on a device, or `engine` itself once it is known to be usable.

    Raises UsageError for a name that does not exist, EngineError with the pip command for one that is not installed.
    """
    if engine == "auto":
        if device != "cpu":
            from streamsr.engines.gpu_engines import choose_for_gpu

            found = choose_for_gpu(device)
            if found is not None:
                return "cuda" if found == "tensorrt" else found
        for name in CPU_ENGINES:
            if is_installed(name):
                return name
        raise EngineError("No inference engine is installed.", hint=" or ".join(INSTALL[name] for name in CPU_ENGINES))
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}. Engines: auto, {', '.join(ENGINES)}.")
    if not is_installed(engine):
        available = [name for name in ENGINES if is_installed(name)]
        hint = INSTALL["tensorrt" if engine == "cuda" else engine]
        raise EngineError(f"Engine {engine!r} is not installed. Installed here: {', '.join(available)}.", hint=hint)
    return engine


def open_engine(
    spec: ModelSpec | None,
    *,
    scale: int | None = None,
    bits: int = 8,
    engine: str = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    threads: int = 0,
    hint: Hint = "throughput",
) -> Engine:
    """Open the engine that runs `spec` on planes of `bits` bits.

    spec: the model; None only for the engine "resize", which then needs `scale`.
    device: "auto" is the first NVIDIA GPU where an engine for it is installed, else the CPU; "cpu", "cuda:0", "mps", or a GPU
        as OpenVINO names it.
    threads: cores to use, 0 for all.
    hint: "throughput" runs several planes side by side, one or a few cores each; "latency" and "memory" one plane on all cores.
    Raises UsageError for options that do not exist, EngineError for what is not there (engine, device, precision).
    """
    if not 8 <= bits <= 16:
        raise UsageError(f"bits is {bits}; planes have 8 to 16 bits.")
    check_choice("precision", precision, get_args(Precision))
    check_choice("hint", hint, get_args(Hint))
    name = choose_engine(engine, device)
    if spec is None and name != "resize":
        raise UsageError(f"Engine {name!r} needs a model; only 'resize' does without.")
    scale = scale if scale is not None else spec.scale if spec is not None else 2
    if spec is not None and spec.scale != scale:
        raise UsageError(f"Model {spec.name!r} is for x{spec.scale}, not x{scale}.")
    if spec is not None and spec.states:
        hint = "latency"  # the planes of a stream come one after the other, each with all cores
    return ENGINES[name](spec, scale=scale, bits=bits, device=device, precision=precision, threads=count_threads(threads), hint=hint)


def describe_model(path: Path, *, engine: str = "auto") -> ModelSpec:
    """Measure what a bare ONNX file (no JSON beside it) is: its scale, and how far an output pixel sees.

    Raises EngineError when the file does not follow the contract of `streamsr.models`.
    """
    from streamsr.engines.onnx_inspection import inspect_model

    name = engine if engine in CPU_ENGINES else choose_engine("auto")
    return inspect_model(path, engine=name, open_engine=open_engine)
