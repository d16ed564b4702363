"""Plans by torch-tensorrt: what is written is what the TensorRT engine loads; without a GPU or the package it says so.

In the place of torch-tensorrt and TensorRT stand fakes, which check what they are given: an "engine" is the program that torch
exported, run by its own operators on the arrays that are bound to the names of its tensors.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from attentive import remembering_model
from make_chroma import make_weights, reference, write_chroma_model
from make_model import make_network, write_model
from make_recurrent import write_recurrent
from onnx import numpy_helper

from streamsr.engines.distributions import Flavour
from streamsr.engines.gpus import Gpu
from streamsr.engines.plan_builder import Wish
from streamsr.engines.plan_cache import Plan, PlanPart
from streamsr.engines.tensorrt_engine import read_exported
from streamsr.models import load_spec
from trainer.cli import Export
from trainer.export import torch_tensorrt_plan
from trainer.export.export_run import sha256_of
from trainer.export.tensorrt_plan import PlanOptions, export_plans
from trainer.export.torch_tensorrt_plan import open_compiler
from trainer.trainer_error import TrainerError

GPU = Gpu(0, "NVIDIA Fake", "9.0", 80 << 30)
TOLERANCE = 8e-3  # half precision, some layers after one another
KINDS: dict[str, Callable[[Path], Path]] = {
    "luma": lambda folder: write_model(make_network(channels=8, layers=2), folder, int8=False),
    "chroma": lambda folder: write_chroma_model(make_weights(2), folder),
    "recurrent": write_recurrent,
    "chroma, state and attention": lambda folder: remembering_model(folder, layers=2, radius=1)[0],
}


class FakeInput:
    """torch_tensorrt.Input: one shape, or three."""

    def __init__(self, *, dtype: torch.dtype, **shapes: tuple[int, ...]) -> None:
        assert set(shapes) in ({"shape"}, {"min_shape", "opt_shape", "max_shape"})
        self.dtype, self.least, self.most = dtype, shapes.get("shape") or shapes["min_shape"], shapes.get("shape") or shapes["max_shape"]


class FakeEngine:
    """Its tensors have torch-tensorrt's names, and stand in an order of their own, as TensorRT promises none."""

    def __init__(self, data: bytes) -> None:
        self.program = torch.export.load(io.BytesIO(data))
        values = {node.name: node.meta["val"] for node in self.program.graph.nodes if "val" in node.meta}
        signature = self.program.graph_signature
        self.inputs = {name: values[name] for name in signature.user_inputs}
        self.outputs = {f"output{index}": values[name] for index, name in enumerate(signature.user_outputs)}
        self.tensors = dict(reversed((self.inputs | self.outputs).items()))
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_shape(self, name: str) -> list[int]:
        return [side if isinstance(side, int) else -1 for side in self.tensors[name].shape]

    def get_tensor_dtype(self, name: str) -> torch.dtype:
        return self.tensors[name].dtype

    def run(self, bound: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        made = self.program.module()(*(torch.from_numpy(bound[name]).half() for name in self.inputs))
        return {name: tensor.float().numpy() for name, tensor in zip(self.outputs, made, strict=True)}


def convert(
    program: torch.export.ExportedProgram, *, arg_inputs: list[FakeInput], device: torch.device, use_explicit_typing: bool
) -> bytes:
    """torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine: takes a program for the inputs that it is told of."""
    assert use_explicit_typing
    assert device == torch.device(GPU.device)
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for name, given in zip(program.graph_signature.user_inputs, arg_inputs, strict=True):
        assert values[name].dtype == given.dtype == torch.float16
        for side, low, high in zip(values[name].shape, given.least, given.most, strict=True):
            if low == high:
                assert side == low
            else:
                known = program.range_constraints[side.node.expr]
                assert (known.lower, known.upper) == (low, high)
    data = io.BytesIO()
    torch.export.save(program, data)
    return data.getvalue()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch_tensorrt, on a machine with a GPU and TensorRT 10.9."""
    compiler: Any = ModuleType("torch_tensorrt")
    compiler.__version__, compiler.Input = "2.13.0", FakeInput
    compiler.dynamo = SimpleNamespace(convert_exported_program_to_serialized_trt_engine=convert)

    class Logger:
        def __init__(self) -> None: ...

    trt = SimpleNamespace(
        Runtime=lambda logger: SimpleNamespace(deserialize_cuda_engine=FakeEngine),
        ILogger=Logger, TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"), DataType=SimpleNamespace(HALF=torch.float16),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch_tensorrt", compiler)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Gpu, "device", "cpu")
    monkeypatch.setattr(torch_tensorrt_plan, "import_flavour", lambda name: Flavour(name, "10.9.0", trt))
    monkeypatch.setattr(torch_tensorrt_plan, "find_gpu", lambda device: GPU)
    compiler.trt = trt
    return compiler


def compiled(description: Path, size: tuple[int, int], *, is_dynamic: bool = False) -> list[Path]:
    return export_plans(description, PlanOptions((size,), is_dynamic, compiler=open_compiler()))


def found(description: Path, shape: tuple[int, int, int]) -> Plan | None:
    """What the engine finds beside the model for such planes."""
    spec = load_spec(description)
    return read_exported(spec, Wish(shape).key(spec, Flavour("tensorrt", "10.9.0", None), GPU.name, GPU.capability), pytest.fail)


def run(plan: Plan, shape: tuple[int, int, int]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random tensors, and what the plan makes of them, by the names of the model."""
    (part,) = plan.steps
    assert isinstance(part, PlanPart)
    rng = np.random.default_rng(0)
    given = {tensor.name: rng.random(tensor.shape(*shape), np.float32) for tensor in part.inputs}
    made = FakeEngine(part.data).run({part.bindings[name]: array for name, array in given.items()})
    return given, {tensor.name: made[part.bindings[tensor.name]] for tensor in part.outputs}


@pytest.mark.parametrize("write", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("is_dynamic", [False, True], ids=["one-size", "dynamic"])
def test_plan_that_the_engine_finds_is_the_model(tmp_path: Path, module: Any, write: Callable[[Path], Path], is_dynamic: bool) -> None:
    path = write(tmp_path)
    description = path.with_suffix(".json")
    (file,) = compiled(description, (48, 24), is_dynamic=is_dynamic)
    assert json.loads(description.read_text())["tensorrt"] == [file.name]
    shape = (1, 20, 32) if is_dynamic else (1, 24, 48)
    plan = found(description, shape)
    assert plan is not None
    assert found(description, (1, 24, 50)) is None
    given, made = run(plan, shape)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_outputs()]
    assert set(made) == set(names)
    for name, wanted in zip(names, session.run(names, given), strict=True):
        np.testing.assert_allclose(made[name], wanted, atol=TOLERANCE, err_msg=name)


def test_chroma_and_condition_go_where_they_belong(tmp_path: Path, module: Any) -> None:
    """Against the network in float64, by NumPy alone."""
    weights = make_weights(2)
    description = write_chroma_model(weights, tmp_path).with_suffix(".json")
    compiled(description, (40, 24))
    plan = found(description, (1, 24, 40))
    assert plan is not None
    given, made = run(plan, (1, 24, 40))
    luma, chroma = reference(weights, given["luma"][0, 0], given["chroma"][0], tuple(given["condition"].ravel()))
    np.testing.assert_allclose(made["luma_hr"][0, 0], luma, atol=TOLERANCE)
    np.testing.assert_allclose(made["chroma_hr"][0], chroma, atol=TOLERANCE)


def test_sides_that_are_alike_stay_apart(tmp_path: Path, module: Any) -> None:
    """32 rows and columns, and a state whose sides are twice those: each is free by itself."""
    description = write_recurrent(tmp_path).with_suffix(".json")
    compiled(description, (32, 32), is_dynamic=True)
    plan = found(description, (1, 16, 24))
    assert plan is not None
    assert run(plan, (1, 16, 24))[1]["luma_hr"].shape == (1, 1, 32, 48)


def test_release_without_the_typing_option_is_called_without_it(tmp_path: Path, module: Any) -> None:
    """From 2.14 on the types are the program's anyway."""

    def newer(program: torch.export.ExportedProgram, *, arg_inputs: list[FakeInput], device: torch.device) -> bytes:
        return convert(program, arg_inputs=arg_inputs, device=device, use_explicit_typing=True)

    module.dynamo.convert_exported_program_to_serialized_trt_engine = newer
    compiled(write_recurrent(tmp_path).with_suffix(".json"), (40, 24))


def test_network_that_it_cannot_compile_leaves_no_plan(tmp_path: Path, module: Any) -> None:
    def refuse(*_: object, arg_inputs: list[FakeInput], device: object) -> bytes:
        try:
            raise NotImplementedError("no converter for aten.unfold")
        except NotImplementedError as error:
            raise RuntimeError("graph():\n" + "%conv2d : [num_users=1]\n" * 500) from error

    module.dynamo.convert_exported_program_to_serialized_trt_engine = refuse
    description = write_recurrent(tmp_path).with_suffix(".json")
    before = description.read_text()
    wanted = r"cannot compile tiny-recurrent_x2\.onnx for 40x24: no converter for aten\.unfold \(.*--tensorrt\)$"
    with pytest.raises(TrainerError, match=wanted):
        compiled(description, (40, 24))
    assert description.read_text() == before
    assert not list(tmp_path.glob("*.plan"))


def test_weight_that_float16_cannot_hold_is_named(tmp_path: Path, module: Any) -> None:
    path = write_recurrent(tmp_path)
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "detail.weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(1e5), weight.name))
    onnx.save(model, path)
    description = path.with_suffix(".json")
    description.write_text(json.dumps(json.loads(description.read_text()) | {"sha256": sha256_of(path)}))
    with pytest.raises(TrainerError, match=r"'detail\.weight' has values up to 1e\+05, more than float16 holds"):
        compiled(description, (40, 24))


def test_engine_of_other_tensors_is_refused(tmp_path: Path, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    description = write_recurrent(tmp_path).with_suffix(".json")
    monkeypatch.setattr(FakeEngine, "get_tensor_dtype", lambda self, name: torch.float32 if name == "output1" else torch.float16)
    with pytest.raises(TrainerError, match=r"reads state_a_next of tiny-recurrent_x2 as .* torch\.float32"):
        compiled(description, (40, 24))
    module.trt.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda data: None)
    monkeypatch.setattr(torch_tensorrt_plan, "make_logger", lambda trt: SimpleNamespace(words=lambda: "version tag 240 is not 239"))
    with pytest.raises(TrainerError, match=r"TensorRT 10\.9\.0 does not take the engine: version tag 240 is not 239"):
        compiled(description, (40, 24))


def test_without_a_gpu_nothing_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainerError, match=r"compiles on a CUDA GPU, and torch .* sees none; leave --torch-tensorrt out"):
        Export(tmp_path / "no-run", out=tmp_path, torch_tensorrt=("64x48",)).run()


def test_what_does_not_start_is_named_with_the_way_out(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module.trt._package_name = "tensorrt_rtx"
    with pytest.raises(TrainerError, match="builds by TensorRT for RTX"):
        open_compiler()
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(TrainerError, match=r"needs torch-tensorrt, which does not start: .*pip install 'streamsr\[torch-tensorrt\]'"):
        open_compiler()


def test_options_that_contradict_are_refused(tmp_path: Path) -> None:
    for more, words in (({"tensorrt": True}, "give one of them"), ({"plan_capabilities": ("8.9",)}, "this machine alone")):
        with pytest.raises(TrainerError, match=words):
            Export(tmp_path, torch_tensorrt=("64x48",), **more).run()
