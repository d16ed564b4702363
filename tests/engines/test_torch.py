"""The torch engine's interpreter: every operator that it has against ONNX Runtime, and what it has not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from attentive import attentive_model, run_body
from make_chroma import make_weights, reference, write_chroma_model
from make_model import make_network, write_model
from media import make_clip, streamsr, times
from onnx import TensorProto, helper, numpy_helper

from streamsr.engines import open_engine
from streamsr.errors import EngineError
from streamsr.models import ModelSpec, load_spec

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

from streamsr.engines.onnx_file import read_onnx  # noqa: E402
from streamsr.engines.torch_engine import load_network  # noqa: E402
from streamsr.engines.torch_network import OnnxNetwork  # noqa: E402
from streamsr.engines.torch_operators import OPERATORS  # noqa: E402

INTS = np.int64


def model_of(op: str, constants: Sequence[np.ndarray], num_outputs: int = 1, num_inputs: int = 1, **attributes: Any) -> onnx.ModelProto:
    """One node whose first inputs are x0, x1, .. (2, 4, 6, 8) and whose others are constants."""
    given = [f"x{index}" for index in range(num_inputs)]
    names, made = [f"c{index}" for index in range(len(constants))], [f"y{index}" for index in range(num_outputs)]
    node = helper.make_node(op, [*given, *names], made, name="it", **attributes)
    weights = [numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True)]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4, 6, 8]) for name in given]
    graph = helper.make_graph([node], "one", ports, [helper.make_empty_tensor_value_info(name) for name in made], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


CASES: dict[str, onnx.ModelProto] = {
    "Add": model_of("Add", [], num_inputs=2),
    "Add constant": model_of("Add", [random(4, 1, 1)]),
    "Clip": model_of("Clip", [np.float32(-0.2), np.float32(0.7)]),
    "Clip below": model_of("Clip", [np.float32(-0.2)]),
    "Concat": model_of("Concat", [], num_inputs=2, axis=1),
    "Conv": model_of("Conv", [random(3, 4, 3, 3), random(3)], pads=[1, 1, 1, 1]),
    "Conv 5x1, stride, groups": model_of("Conv", [random(4, 2, 5, 1)], pads=[2, 0, 2, 0], strides=[2, 1], group=2),
    "Conv, dilation": model_of("Conv", [random(2, 4, 3, 3)], pads=[2, 2, 2, 2], dilations=[2, 2]),
    "DepthToSpace": model_of("DepthToSpace", [], blocksize=2, mode="CRD"),
    "DepthToSpace DCR": model_of("DepthToSpace", [], blocksize=2),
    "Div": model_of("Div", [np.float32(3)]),
    "Identity": model_of("Identity", []),
    "LeakyRelu": model_of("LeakyRelu", [], alpha=0.2),
    "Mul": model_of("Mul", [], num_inputs=2),
    "PRelu": model_of("PRelu", [random(4, 1, 1)]),
    "Pad": model_of("Pad", [np.array([0, 0, 0, 3, 0, 0, 0, 2], INTS)]),
    "Pad, value": model_of("Pad", [np.array([0, 1, 2, 3, 0, 0, 0, 2], INTS), np.float32(7)]),
    "Pad, edge": model_of("Pad", [np.array([0, 0, 1, 3, 0, 0, 2, 2], INTS)], mode="edge"),
    "Pad, reflect": model_of("Pad", [np.array([0, 0, 1, 3, 0, 0, 2, 2], INTS)], mode="reflect"),
    "ReduceMean": model_of("ReduceMean", [], axes=[2, 3]),
    "ReduceSum": model_of("ReduceSum", [np.array([1], INTS)], keepdims=0),
    "Relu": model_of("Relu", []),
    "Sigmoid": model_of("Sigmoid", []),
    "Slice": model_of("Slice", [np.array([1, -5], INTS), np.array([2**62, -1], INTS), np.array([2, 3], INTS)]),
    "Slice, no axes": model_of("Slice", [np.array([0, 1], INTS), np.array([1, 3], INTS)]),
    "Softmax": model_of("Softmax", [], axis=1),
    "SpaceToDepth": model_of("SpaceToDepth", [], blocksize=2),
    "Split": model_of("Split", [np.array([1, 3], INTS)], num_outputs=2, axis=1),
    "Split, even": model_of("Split", [], num_outputs=2, axis=3),
    "Sub": model_of("Sub", [], num_inputs=2),
    "Tanh": model_of("Tanh", []),
}


def test_every_operator_has_a_case() -> None:
    assert {model.graph.node[0].op_type for model in CASES.values()} == set(OPERATORS)


@pytest.mark.parametrize("name", CASES)
def test_operator_does_what_onnx_runtime_does(name: str) -> None:
    model = CASES[name]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    given = {port.name: rng.normal(size=(2, 4, 6, 8)).astype(np.float32) for port in model.graph.input}
    made = OnnxNetwork(read_onnx(model.SerializeToString()))(*(torch.from_numpy(array) for array in given.values()))
    expected = session.run(None, given)
    assert len(made) == len(expected)
    for have, want in zip(made, expected, strict=True):
        np.testing.assert_allclose(have.numpy(), want, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (model_of("Erf", []), r"no operator Erf\. Supported: Add, "),
        (model_of("Conv", [random(3, 4, 3, 3)], pads=[0, 0, 2, 2]), r"no Conv with uneven padding \('it'\)"),
        (model_of("Slice", [np.array([0], INTS), np.array([9], INTS), np.array([3], INTS), np.array([2], INTS)]), "no Slice with steps"),
        (model_of("Pad", [], num_inputs=2), "needs input 1 of Pad 'it' to be a constant"),
    ],
)
def test_what_it_has_not_is_named(model: onnx.ModelProto, text: str) -> None:
    with pytest.raises(EngineError, match=text):
        OnnxNetwork(read_onnx(model.SerializeToString()))


def test_unknown_operator_is_named_when_the_engine_opens(tmp_path: Path) -> None:
    path = write_model(make_network(layers=3), tmp_path, int8=False)
    model = onnx.load(path)
    model.graph.node[1].op_type = "Softplus"
    onnx.save(model, path)
    with pytest.raises(EngineError, match="no operator Softplus"):
        open_engine(ModelSpec("odd", 2, path, None), engine="torch", device="cpu")


def test_attention_is_the_functions_body_or_what_is_given_for_it(tmp_path: Path) -> None:
    spec = load_spec(attentive_model(tmp_path).with_suffix(".json"))
    model, asked = onnx.load(spec.path), []

    def attend(query: Any, key: Any, value: Any, radius: int) -> Any:
        asked.append((tuple(query.shape), tuple(value.shape), radius))
        return torch.from_numpy(run_body(model, [side.numpy() for side in (query, key, value)]))

    body, kernel = load_network(spec, "f32"), load_network(spec, "f32", attend=attend)
    luma, state = torch.rand(2, 1, 12, 20), torch.rand(2, 16, 12, 20) * 2 - 1
    given = dict(zip(["luma", "state_0"], [luma, state], strict=True))
    session = ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {name: array.numpy() for name, array in given.items()})
    with torch.inference_mode():
        for network in (body, kernel):
            for have, want in zip(network(*(given[name] for name in network.inputs)), expected, strict=True):
                np.testing.assert_allclose(have.numpy(), want, atol=2e-6)
    assert asked == [((2, 8, 12, 20), (2, 16, 12, 20), 3)] * 2


@pytest.mark.parametrize(("precision", "largest"), [("f32", 1e-5), ("f16", 4e-3), ("bf16", 3e-2)])
def test_network_with_attention_follows_the_file_over_frames(tmp_path: Path, precision: str, largest: float) -> None:
    spec = load_spec(attentive_model(tmp_path).with_suffix(".json"))
    session = ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    network = load_network(spec, precision)
    state = np.zeros((1, 16, 33, 47), np.float32)
    exact_state = state
    for luma in np.random.default_rng(0).random((3, 1, 1, 33, 47), np.float32):
        given = {"luma": luma, "state_0": state}
        with torch.inference_mode():
            made = network(*(torch.from_numpy(given[name]) for name in network.inputs))
        luma_hr, state = (made[network.outputs.index(name)].float().numpy() for name in ("luma_hr", "state_0_next"))
        exact, exact_state = session.run(["luma_hr", "state_0_next"], {"luma": luma, "state_0": exact_state})
        assert np.abs(luma_hr - exact).max() <= largest
        assert np.abs(state - exact_state).max() <= 4 * largest


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_interpolated_luma_is_not_rounded(tmp_path: Path, precision: str) -> None:
    weights = make_weights(2)
    for name in ("tail", "tail.bias", "chroma_tail", "chroma_tail.bias"):
        weights[name] *= 0  # the interpolation alone
    network = load_network(load_spec(write_chroma_model(weights, tmp_path).with_suffix(".json")), precision)
    luma, chroma = torch.rand(1, 1, 20, 24), torch.rand(1, 2, 20, 24)
    given = {"luma": luma, "chroma": chroma, "condition": torch.zeros(1, 2, 1, 1)}
    with torch.inference_mode():
        made = network(*(given[name] for name in network.inputs))[network.outputs.index("luma_hr")]
    wanted, _ = reference(weights, luma[0, 0].numpy(), chroma[0].numpy(), (0.0, 0.0))
    assert np.abs(made[0, 0].float().numpy() - wanted).max() < 1e-6


def test_network_compiles_without_a_break(tmp_path: Path) -> None:
    """What a GPU compiles has to be one graph; traced here, without a compiler's back end."""
    spec = load_spec(attentive_model(tmp_path).with_suffix(".json"))
    network = load_network(spec, "f32")
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
    given = [torch.rand(1, 1, 8, 8) if name == "luma" else torch.rand(1, 16, 8, 8) for name in network.inputs]
    with torch.inference_mode():
        for have, want in zip(compiled(*given), network(*given), strict=True):
            np.testing.assert_allclose(have.numpy(), want.numpy(), atol=1e-6)


def test_the_kernel_is_an_operator_that_torch_can_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered as on a GPU, with the function's body in the kernel's place: torch traces it without looking inside."""
    import streamsr_kernels

    from streamsr.engines import torch_device

    spec = load_spec(attentive_model(tmp_path).with_suffix(".json"))
    model, streams = onnx.load(spec.path), []

    def kernel(query: Any, key: Any, value: Any, *, radius: int, out: Any, stream: int) -> None:
        assert radius == 3
        assert all(side.is_contiguous() for side in (query, key, value, out))
        streams.append(stream)
        out.copy_(torch.from_numpy(run_body(model, [side.numpy() for side in (query, key, value)])))

    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))
    monkeypatch.setattr(streamsr_kernels, "local_axial_attention", kernel)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=77))
    monkeypatch.setattr(torch_device, "_REGISTERED", {})
    network = load_network(spec, "f32", attend=torch_device.find_attention())
    given = {"luma": torch.rand(1, 1, 12, 20), "state_0": torch.rand(1, 16, 12, 20) * 2 - 1}
    session = ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {name: array.numpy() for name, array in given.items()})
    compiled = torch.compile(network, fullgraph=True, dynamic=False, backend="eager")
    with torch.inference_mode():
        for have, want in zip(compiled(*(given[name] for name in network.inputs)), expected, strict=True):
            np.testing.assert_allclose(have.numpy(), want, atol=2e-6)
    assert streams == [77, 77]


def test_devices_and_precisions_that_are_not_here_are_named(tmp_path: Path) -> None:
    spec = load_spec(write_model(make_network(layers=3), tmp_path, int8=False).with_suffix(".json"))
    with pytest.raises(EngineError, match=r"no device 'cuda:9' here\. Devices: .*cpu"):
        open_engine(spec, engine="torch", device="cuda:9")
    with pytest.raises(EngineError, match=r"cannot run int8\. Precisions that work: f32, bf16, f16"):
        open_engine(spec, engine="torch", device="cpu", precision="int8")
    with pytest.raises(EngineError, match="runs f16 only on GPUs"):
        open_engine(spec, engine="torch", device="cpu", precision="f16")


def test_run_with_torch_on_the_cpu(tmp_path: Path) -> None:
    model = write_model(make_network(layers=3), tmp_path, int8=False)
    clip = make_clip(tmp_path / "in.mkv")
    outcome = streamsr("run", clip, tmp_path / "out.mkv", "--model", model, "--engine", "torch", "--device", "cpu", "--encoder", "ffv1")
    assert outcome.code == 0, outcome.err
    assert "on torch (f32" in outcome.err
    assert times(tmp_path / "out.mkv") == times(clip)


def test_graphs_of_a_second_gpu_are_captured_on_a_stream_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own stream for captures belongs to the GPU that captured first."""
    from streamsr.engines import torch_device

    class Graph:
        def __init__(self, graph: Any, *, pool: Any, stream: Any = None, capture_error_mode: str) -> None:
            assert stream is not None, "the stream of the first GPU would be taken"
            assert stream.device == "cuda:1"

        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "graph", Graph)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(pool=lambda: 1))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(device=device))
    launched = []
    engine = SimpleNamespace(device="cuda:1", dtype="float32", places=[0], results=[0], run=lambda luma: launched.append(luma) or [luma])
    lane = torch_device.TorchLane(engine, (1, 2, 2))  # type: ignore[arg-type]
    lane._capture([torch.zeros(1)], [torch.ones(1)])
    assert len(launched) == 1
