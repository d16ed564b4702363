"""Engine: what runs a model at one scale on planes of one bit depth, and what a call of it takes and gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec

MAX_STREAMS = 8  # planes side by side: each takes up to 400 MB (streamsr.engines.tiling)

# What a recurrent model carries from one frame of a stream to the next, float32 (channels, scale * h, scale * w) for each
# of `ModelSpec.states`, whatever the engine's precision: rounding it again at every frame would add up. () without one.
State = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Chroma:
    """The chroma of one `Engine.infer`, for a model of luma and chroma.

    samples: (2, h, w), Cb and Cr on the network's chroma grid (Note [Chroma grid] of streamsr.upscaling.chroma_grid), same dtype as luma.
    out: (2, h, w), same dtype, written whole: rounded half to even and clipped.
    condition: the network's input about the source: blur and damage, both 0 to 1 (streamsr.upscaling.source_condition).
    """

    samples: np.ndarray
    out: np.ndarray
    condition: tuple[float, float]

    @property
    def told(self) -> np.ndarray:
        """The condition as the model takes it, float32 (1, 2, 1, 1)."""
        return np.array(self.condition, np.float32).reshape(1, 2, 1, 1)


class Engine(Protocol):
    """Runs one model at one scale and bit depth. `infer` may be called by `concurrency` threads at once.

    It keeps nothing from call to call: the state of a recurrent model belongs to the stream, so streams may share an engine.
    """

    @property
    def name(self) -> str: ...  # "openvino", "onnxruntime", "torch", "tensorrt", "resize"
    @property
    def device(self) -> str: ...  # "cpu", "gpu.0", "cuda:0"
    @property
    def precision(self) -> str: ...  # "f32", "f16", "bf16", "int8"
    @property
    def reason(self) -> str: ...  # what "auto" chose, and why; for people

    scale: int
    bits: int  # of a sample: 8 means uint8, 9 to 16 mean uint16
    concurrency: int  # calls of `infer` that run side by side

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """Upscale one picture. Returns the state for the next plane of the stream; `state` is left as it was.

        luma: (h, w) uint8 or uint16, codes 0 .. 2**bits - 1; rows may be padded.
        out: (scale * h, scale * w), same dtype, written whole: the model's output rounded half to even and clipped.
        state: what the call for the plane before returned, or `zero_state`; () for a model without one.
        chroma: for a model that has it (`ModelSpec.has_chroma`), and for no other.
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
        """`infer` for up to `max_batch` planes of one shape, without state and chroma: the same codes in `outs`."""


CHROMA_INPUTS, CHROMA_OUTPUT = ("chroma", "condition"), "chroma_hr"  # tensors of a model of luma and chroma


def zero_state(spec: ModelSpec, height: int, width: int) -> State:
    """The state before the first plane of height x width."""
    return tuple(np.zeros((state.channels, state.scale * height, state.scale * width), np.float32) for state in spec.states)


def check_states(spec: ModelSpec, found: set[str]) -> None:
    """Raises EngineError where a model's file has other inputs (`found`) than its description lists."""
    wanted = {spec.input, *(state.name for state in spec.states), *(CHROMA_INPUTS if spec.has_chroma else ())}
    if spec.is_named and wanted != found:
        raise EngineError(f"{spec.path} takes {', '.join(sorted(found))}; its description says {', '.join(sorted(wanted))}.")


def count_threads(threads: int) -> int:
    """`threads`, or for 0 the number of cores that this process may use. Raises UsageError below 0."""
    if threads < 0:
        raise UsageError(f"threads is {threads}; use 0 for all cores, or a positive number.")
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
