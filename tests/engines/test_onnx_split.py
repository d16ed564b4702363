"""Cutting a model at its attention: the parts in ONNX Runtime with the function's body between them are the whole model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from attentive import attentive_model, run_body
from make_model import make_network, write_model
from make_recurrent import write_recurrent
from onnx import TensorProto, helper

from streamsr.engines.onnx_split import Part, cut, halved, sized
from streamsr.engines.step_lane import Attention
from streamsr.errors import EngineError
from streamsr.models import ModelSpec, list_models, load_spec

ort = pytest.importorskip("onnxruntime")


def run(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [made.name for made in session.get_outputs()]
    return dict(zip(names, session.run(names, {port.name: given[port.name] for port in session.get_inputs()}), strict=True))


def noise(spec: ModelSpec, n: int, h: int, w: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    given = {spec.input: rng.random((n, 1, h, w), np.float32)}
    if spec.has_chroma:
        given |= {"chroma": rng.random((n, 2, h, w), np.float32), "condition": rng.random((1, 2, 1, 1), np.float32)}
    return given | {s.name: rng.uniform(-1, 1, (n, s.channels, s.scale * h, s.scale * w)).astype(np.float32) for s in spec.states}


def run_parts(spec: ModelSpec, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    model, values = onnx.load(spec.path), dict(given)
    for step in cut(model, spec):
        if isinstance(step, Part):
            made = run(step.model, values)
            assert set(made) == {tensor.name for tensor in step.outputs}
            values |= made
        else:
            values[step.output.name] = run_body(model, [values[tensor.name] for tensor in step.inputs])
        n, _, h, w = given[spec.input].shape
        for tensor in step.outputs:
            assert values[tensor.name].shape == tensor.shape(n, h, w)
    return values


def attentive(folder: Path) -> ModelSpec:
    return load_spec(attentive_model(folder).with_suffix(".json"))


@pytest.mark.parametrize("shape", [(1, 24, 40), (2, 17, 9)])
def test_parts_with_attention_between_them_are_the_whole_model(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    spec = attentive(tmp_path)
    given = noise(spec, *shape)
    whole, parts = run(onnx.load(spec.path), given), run_parts(spec, given)
    assert set(whole) == {"luma_hr", "state_0_next"}
    for name, expected in whole.items():
        np.testing.assert_allclose(parts[name], expected, atol=2e-6)


def test_a_model_with_two_attentions_has_two_parts(tmp_path: Path) -> None:
    spec = attentive(tmp_path)
    steps = cut(onnx.load(spec.path), spec)
    assert [type(step) for step in steps] == [Part, Attention, Attention, Part]
    first, asking, _, last = steps
    assert isinstance(asking, Attention)
    assert [tensor.channels for tensor in asking.inputs] == [8, 8, 16]
    assert {tensor.name for tensor in first.inputs} == {"luma", "state_0"}
    assert {tensor.name for tensor in last.outputs} == {"luma_hr", "state_0_next"}
    assert not any(node.domain for step in (first, last) for node in step.model.graph.node)  # type: ignore[union-attr]


@pytest.mark.parametrize("spec", list_models(), ids=lambda spec: f"{spec.name}_x{spec.scale}")
def test_shipped_models_are_cut_as_they_are(spec: ModelSpec) -> None:
    steps = cut(onnx.load(spec.path), spec)
    attentions = [node for node in onnx.load(spec.path).graph.node if node.op_type == "LocalAxialAttention"]
    assert sum(isinstance(step, Attention) for step in steps) == len(attentions)
    given = noise(spec, 1, 16, 20)
    for name, expected in run(onnx.load(spec.path), given).items():
        np.testing.assert_allclose(run_parts(spec, given)[name], expected, atol=2e-6)


def test_recurrent_model_without_attention_is_one_part(tmp_path: Path) -> None:
    spec = load_spec(write_recurrent(tmp_path).with_suffix(".json"))
    (part,) = cut(onnx.load(spec.path), spec)
    assert {(tensor.name, tensor.channels, tensor.scale) for tensor in part.outputs} == {
        ("luma_hr", 1, 2), ("state_a_next", 4, 1), ("state_b_next", 1, 2),
    }  # fmt: skip


def test_a_part_for_one_size_takes_no_other(tmp_path: Path) -> None:
    spec = load_spec(write_recurrent(tmp_path).with_suffix(".json"))
    (part,) = cut(onnx.load(spec.path), spec)
    assert isinstance(part, Part)
    fixed = sized(part.model, part.inputs, (1, 16, 24))
    given = noise(spec, 1, 16, 24)
    for name, expected in run(part.model, given).items():
        np.testing.assert_array_equal(run(fixed, given)[name], expected)
    with pytest.raises(Exception, match="invalid dimensions"):
        run(fixed, noise(spec, 1, 16, 26))


@pytest.mark.parametrize("recurrent", [False, True])
def test_half_precision_stays_close(tmp_path: Path, recurrent: bool) -> None:
    path = write_recurrent(tmp_path) if recurrent else write_model(make_network(), tmp_path, int8=False)
    spec = load_spec(path.with_suffix(".json"))
    (part,) = cut(onnx.load(spec.path), spec)
    assert isinstance(part, Part)
    half = halved(part.model)
    onnx.checker.check_model(half, full_check=True)
    given = noise(spec, 1, 32, 48)
    made = run(half, {name: array.astype(np.float16) for name, array in given.items()})
    for name, expected in run(part.model, given).items():
        assert made[name].dtype == np.float16
        # 11 bits of mantissa, a handful of layers
        np.testing.assert_allclose(made[name].astype(np.float32), expected, atol=4e-3)


def test_weight_beyond_half_precision_is_an_error() -> None:
    node = helper.make_node("Mul", ["luma", "big"], ["luma_hr"])
    big = helper.make_tensor("big", TensorProto.FLOAT, [1], [1e6])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, "h", "w"]) for name in ("luma", "luma_hr")]
    model = helper.make_model(helper.make_graph([node], "big", ports[:1], ports[1:], [big]))
    with pytest.raises(EngineError, match=r"'big' has values up to 1e\+06"):
        halved(model)


def test_function_of_others_is_refused(tmp_path: Path) -> None:
    spec = attentive(tmp_path)
    model = onnx.load(spec.path)
    for node in model.graph.node:
        if node.domain:
            node.op_type = "Mystery"
    with pytest.raises(EngineError, match=r"streamsr\.Mystery"):
        cut(model, spec)


def test_output_of_another_shape_is_refused(tmp_path: Path) -> None:
    spec = load_spec(write_model(make_network(), tmp_path, int8=False).with_suffix(".json"))
    model = onnx.load(spec.path)
    model.graph.node.append(helper.make_node("ReduceMean", ["luma_hr"], ["mean"], axes=[2, 3]))
    model.graph.output.append(helper.make_empty_tensor_value_info("mean"))
    with pytest.raises(EngineError, match=r"'mean' becomes \[2, 1, 1, 1\]"):
        cut(model, replace(spec))
