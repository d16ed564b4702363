"""Engines: what runs a model on a plane of luma. One interface, a file each, chosen from the table below.

`open_engine` imports nothing heavier than the engine that it opens.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec

Precision = Literal["auto", "f32", "bf16", "int8"]
Hint = Literal["throughput", "latency"]
MAX_STREAMS = 8  # planes side by side: each takes up to 400 MB (streamsr.engines.tiling)
PRECISIONS = ("auto", "f32", "bf16", "int8")

# What a recurrent model carries from one frame of a stream to the next, float32 (channels, scale * h, scale * w) for each
# of `ModelSpec.states`, whatever the engine's precision: rounding it again at every frame would add up. () without one.
State = tuple[np.ndarray, ...]


class Engine(Protocol):
    """Runs one model at one scale and bit depth. `infer` may be called by `concurrency` threads at once.

    It keeps nothing from call to call: the state of a recurrent model belongs to the stream, so streams may share an engine.
    """

    name: str  # "openvino", "onnxruntime", "resize"
    device: str  # "cpu", "gpu.0"
    precision: str  # "f32", "bf16", "int8"
    reason: str  # what "auto" chose, and why
    scale: int
    bits: int  # of a sample: 8 means uint8, 9 to 16 mean uint16
    concurrency: int  # calls of `infer` that run side by side

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = ()) -> State:
        """Upscale one plane. Returns the state for the next plane of the stream; `state` is left as it was.

        luma: (h, w) uint8 or uint16, codes 0 .. 2**bits - 1; rows may be padded.
        out: (scale * h, scale * w), same dtype, written whole: the model's output rounded half to even and clipped.
        state: what the call for the plane before returned, or `zero_state`; () for a model without one.
        Raises EngineError when the runtime fails.
        """

    def prepare(self, height: int, width: int) -> None:
        """Compile for planes of this size now rather than on the first frame."""

    def close(self) -> None:
        """Free the compiled models."""


@runtime_checkable
class BatchEngine(Engine, Protocol):
    """An engine that runs several planes at once, for streams that share it."""

    max_batch: int  # where more bring nothing, or do not fit; 1: none at all

    def infer_batch(self, lumas: Sequence[np.ndarray], outs: Sequence[np.ndarray]) -> None:
        """`infer` for up to `max_batch` planes of one shape: the same codes in `outs`."""


def zero_state(spec: ModelSpec, height: int, width: int) -> State:
    """The state before the first plane of height x width."""
    return tuple(np.zeros((state.channels, state.scale * height, state.scale * width), np.float32) for state in spec.states)


def check_states(spec: ModelSpec, found: set[str]) -> None:
    """Raises EngineError where a recurrent model's file has other inputs (`found`) than its description says."""
    wanted = {spec.input, *(state.name for state in spec.states)}
    if spec.states and wanted != found:
        raise EngineError(f"{spec.path} takes {', '.join(sorted(found))}; its description says {', '.join(sorted(wanted))}.")


def _open_openvino(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(spec, **options)  # type: ignore[arg-type]


def _open_onnxruntime(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(spec, **options)  # type: ignore[arg-type]


def _open_resize(spec: ModelSpec | None, **options: object) -> Engine:
    from streamsr.engines.resize import ResizeEngine

    return ResizeEngine(scale=options["scale"], bits=options["bits"], threads=options["threads"])  # type: ignore[arg-type]


ENGINES: dict[str, Callable[..., Engine]] = {
    "openvino": _open_openvino,
    "onnxruntime": _open_onnxruntime,
    "resize": _open_resize,
}
# What "auto" tries, in order, and the pip command for what is missing. OpenVINO first: `lite` x2 of 854x480 took 35 ms
# of one Zen 4 core in int8, 63 in bf16, 118 in f32 (OpenVINO 2026.4); ONNX Runtime 96 in int8, 125 in f32.
INSTALL = {"openvino": "pip install openvino", "onnxruntime": "pip install 'streamsr[ort]'"}


def is_installed(name: str) -> bool:
    """Whether the runtime that an engine needs can be imported; looks it up without importing it."""
    return name not in INSTALL or importlib.util.find_spec(name) is not None


def choose_engine(engine: str) -> str:
    """The engine that "auto" stands for here, or `engine` itself once it is known to be usable.

    Raises UsageError for a name that does not exist, EngineError with the pip command for one that is not installed.
    """
    if engine == "auto":
        for name in INSTALL:
            if is_installed(name):
                return name
        raise EngineError("No inference engine is installed.", hint=" or ".join(INSTALL.values()))
    if engine not in ENGINES:
        raise UsageError(f"Unknown engine {engine!r}. Engines: auto, {', '.join(ENGINES)}.")
    if not is_installed(engine):
        available = [name for name in ENGINES if is_installed(name)]
        raise EngineError(f"Engine {engine!r} is not installed. Installed here: {', '.join(available)}.", hint=INSTALL[engine])
    return engine


def count_threads(threads: int) -> int:
    """`threads`, or for 0 the number of cores that this process may use. Raises UsageError below 0."""
    if threads < 0:
        raise UsageError(f"threads is {threads}; use 0 for all cores, or a positive number.")
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    threads: cores to use, 0 for all.
    hint: "throughput" runs several planes side by side, one or a few cores each; "latency" one plane on all cores.
    Raises UsageError for options that do not exist, EngineError for what is not there (engine, device, precision).
    """
    if not 8 <= bits <= 16:
        raise UsageError(f"bits is {bits}; planes have 8 to 16 bits.")
    if precision not in PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}. Precisions: {', '.join(PRECISIONS)}.")
    if hint not in ("throughput", "latency"):
        raise UsageError(f"Unknown hint {hint!r}. Hints: throughput, latency.")
    name = choose_engine(engine)
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
    from streamsr.engines.inspection import inspect_model

    return inspect_model(path, engine=choose_engine(engine))
