"""Plans by torch-tensorrt: what is written is what the TensorRT engine loads; without a GPU or the package it says so.

In the place of torch-tensorrt and TensorRT stand fakes: the program that torch exports is run as it is, by its operators.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from make_recurrent import write_recurrent

from streamsr.engines.distributions import Flavour
from streamsr.engines.gpus import Gpu
from streamsr.engines.plan_builder import Wish
from streamsr.engines.plan_cache import PlanCache, PlanPart
from streamsr.engines.tensorrt_engine import read_exported
from streamsr.models import load_spec
from trainer.export import tensorrt_plan
from trainer.export.tensorrt_plan import export_plans, parse_size
from trainer.trainer_error import TrainerError

GPU = Gpu(0, "NVIDIA Fake", "9.0", 80 << 30)


class FakeEngine:
    """The names that torch-tensorrt gives, outputs first."""

    names = ("output0", "output1", "output2", "arg0", "arg1", "arg2")
    num_io_tensors = len(names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name.startswith("arg") else "out"


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    def convert(program: torch.export.ExportedProgram, *, arg_inputs: list[torch.Tensor], use_explicit_typing: bool) -> bytes:
        assert use_explicit_typing
        seen["inputs"] = arg_inputs
        data = io.BytesIO()
        torch.export.save(program, data)
        return data.getvalue()

    compiler = ModuleType("torch_tensorrt")
    compiler.dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)  # type: ignore[attr-defined]
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda data: FakeEngine())
    logger = type("Logger", (), {"ERROR": 0, "__init__": lambda self, level: None})
    trt = SimpleNamespace(Runtime=lambda logger: runtime, Logger=logger, TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"))
    monkeypatch.setitem(sys.modules, "torch_tensorrt", compiler)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Gpu, "device", "cpu")
    monkeypatch.setattr(tensorrt_plan, "import_flavour", lambda name: Flavour(name, "10.9.0", trt))
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda device: GPU)
    return seen


def test_plan_beside_the_model_is_the_one_that_the_engine_takes(tmp_path: Path, fakes: dict[str, Any]) -> None:
    description = write_recurrent(tmp_path).with_suffix(".json")
    (file,) = export_plans(description, [(40, 24)])
    assert json.loads(description.read_text())["tensorrt"] == [file.name]
    spec = load_spec(description)
    wanted = Wish((1, 24, 40)).key(spec, Flavour("tensorrt", "10.9.0", None), GPU.name, GPU.capability)
    plan = read_exported(spec, wanted, pytest.fail)
    assert plan is not None
    (part,) = plan.steps
    assert isinstance(part, PlanPart)
    # the file's order: state_b, state_a, luma
    assert part.bindings == {
        "state_b": "arg0", "state_a": "arg1", "luma": "arg2", "state_b_next": "output0", "state_a_next": "output1", "luma_hr": "output2",
    }  # fmt: skip
    assert [tuple(array.shape) for array in fakes["inputs"]] == [tensor.shape(1, 24, 40) for tensor in part.inputs]
    assert all(array.dtype == torch.float16 for array in fakes["inputs"])
    other = Wish((1, 24, 42)).key(spec, Flavour("tensorrt", "10.9.0", None), GPU.name, GPU.capability)
    assert read_exported(spec, other, pytest.fail) is None
    assert not list(PlanCache(tmp_path / "cache").entries())


def test_the_exported_program_is_the_model(tmp_path: Path, fakes: dict[str, Any]) -> None:
    ort = pytest.importorskip("onnxruntime")
    description = write_recurrent(tmp_path).with_suffix(".json")
    (file,) = export_plans(description, [(40, 24)])
    spec = load_spec(description)
    from streamsr.engines.plan_cache import read_plan

    (part,) = read_plan(file).steps
    assert isinstance(part, PlanPart)
    program = torch.export.load(io.BytesIO(part.data))
    rng = np.random.default_rng(0)
    given = {tensor.name: rng.random(tensor.shape(1, 24, 40), np.float32) for tensor in part.inputs}
    made = program.module()(*(torch.from_numpy(array).half() for array in given.values()))
    session = ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    for have, want in zip(made, session.run([tensor.name for tensor in part.outputs], given), strict=True):
        np.testing.assert_allclose(have.float().numpy(), want, atol=8e-3)


def test_network_that_it_cannot_compile_is_an_error(tmp_path: Path, fakes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise RuntimeError("no converter for aten.unfold")

    monkeypatch.setattr(sys.modules["torch_tensorrt"].dynamo, "convert_exported_program_to_serialized_trt_engine", refuse)
    description = write_recurrent(tmp_path).with_suffix(".json")
    before = description.read_text()
    with pytest.raises(TrainerError, match=r"cannot compile tiny-recurrent_x2\.onnx for 40x24: no converter for aten\.unfold"):
        export_plans(description, [(40, 24)])
    assert description.read_text() == before
    assert not list(tmp_path.glob("*.plan"))


def test_without_a_gpu_or_the_package_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    description = write_recurrent(tmp_path).with_suffix(".json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainerError, match="compiles on a CUDA GPU"):
        export_plans(description, [(40, 24)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(TrainerError, match="pip install torch-tensorrt"):
        export_plans(description, [(40, 24)])


def test_sizes_are_width_and_height() -> None:
    assert parse_size("1920x1080") == (1920, 1080)
    with pytest.raises(TrainerError, match="'1080p' is not a size"):
        parse_size("1080p")


def test_a_torch_tensorrt_without_the_option_keeps_types_anyway(tmp_path: Path, fakes: dict[str, Any]) -> None:
    """From 2.14 on the option has another name, and is on."""

    def convert(program: torch.export.ExportedProgram, *, arg_inputs: list[torch.Tensor]) -> bytes:
        data = io.BytesIO()
        torch.export.save(program, data)
        return data.getvalue()

    sys.modules["torch_tensorrt"].dynamo.convert_exported_program_to_serialized_trt_engine = convert  # type: ignore[attr-defined]
    (file,) = export_plans(write_recurrent(tmp_path).with_suffix(".json"), [(40, 24)])
    assert file.is_file()
