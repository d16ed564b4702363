"""TensorRT's API as far as streamsr uses it, with ONNX Runtime behind it: a "serialized engine" is the ONNX file of a part.

Arrays are found by their addresses alone, as on a device, so what is bound wrongly gives wrong results or none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from attentive import run_body
from fake_device import FakeDevice

from streamsr.engines import tensorrt_engine
from streamsr.engines.distributions import Flavour
from streamsr.engines.gpus import Gpu
from streamsr.engines.onnx_split import Part, cut
from streamsr.engines.plan_builder import Wish
from streamsr.engines.plan_cache import Plan, PlanPart
from streamsr.engines.step_lane import Attention
from streamsr.models import ModelSpec

GPU = Gpu(0, "NVIDIA Fake", "8.9", 8 << 30)


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.pointers: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return name in self.engine.inputs

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.pointers[name] = pointer
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.engine.module.fails:
            return False
        pointers, shapes = dict(self.pointers), dict(self.shapes)  # as they are when it is launched
        self.engine.module.device.launch(stream, "part", lambda: self.run(pointers, shapes))
        return True

    def run(self, pointers: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
        given = {name: at(pointers[name], shapes[name]) for name in self.engine.inputs}
        names = [made.name for made in self.engine.session.get_outputs()]
        for name, array in zip(names, self.engine.session.run(names, given), strict=True):
            np.copyto(at(pointers[name], array.shape), array)


class FakeEngine:
    def __init__(self, module: Any, data: bytes) -> None:
        self.module = module
        self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        self.inputs = [port.name for port in self.session.get_inputs()]

    def create_execution_context(self) -> FakeContext | None:
        if self.module.room == 0:
            return None
        self.module.room -= 1
        return FakeContext(self)


def at(pointer: int, shape: tuple[int, ...]) -> np.ndarray:
    """The float32 array at an address."""
    return np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(pointer)).reshape(shape)


def fake_flavour(device: FakeDevice, *, room: int = 99) -> Flavour:
    """room: contexts that fit into the memory."""
    module = SimpleNamespace(device=device, room=room, fails=False, refused=b"")

    class Runtime:
        def __init__(self, logger: object) -> None: ...

        def deserialize_cuda_engine(self, data: bytes) -> FakeEngine | None:
            return None if data == module.refused else FakeEngine(module, data)

    class Logger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

    module.Runtime, module.ILogger = Runtime, Logger
    Logger.__init__ = lambda self: None  # type: ignore[method-assign]
    return Flavour("tensorrt", "10.0", module)


def fake_plan(spec: ModelSpec, flavour: Flavour, shape: tuple[int, int, int], *, is_dynamic: bool = False) -> Plan:
    """A plan whose bindings have other names than the tensors have outside."""
    key = Wish(shape, "f32", is_dynamic).key(spec, flavour, GPU.name, GPU.capability)
    steps: list[Any] = []
    for step in cut(onnx.load(spec.path), spec):
        if not isinstance(step, Part):
            steps.append(step)
            continue
        model = onnx.compose.add_prefix(step.model, "in_")
        names = {tensor.name: f"in_{tensor.name}" for tensor in (*step.inputs, *step.outputs)}
        steps.append(PlanPart(step.inputs, step.outputs, model.SerializeToString(), names))
    return Plan(replace(key), tuple(steps))


def put_body_for_kernel(monkeypatch: pytest.MonkeyPatch, path: Path, device: FakeDevice) -> None:
    """The function's body in the kernel's place."""
    model = onnx.load(path)

    def launch_of(step: Attention) -> Any:
        def launch(arrays: Mapping[str, np.ndarray], stream: int) -> None:
            inputs, result = [arrays[tensor.name] for tensor in step.inputs], arrays[step.output.name]
            device.launch(stream, "attention", lambda: np.copyto(result, run_body(model, inputs)))

        return launch

    monkeypatch.setattr(tensorrt_engine, "attention_launch", launch_of)
