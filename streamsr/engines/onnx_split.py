"""Cuts a model at its attention functions: parts of standard operators for TensorRT, with a kernel to run between them.

Uses the `onnx` package alone. A part is everything between two attentions on the longest way from the inputs:

    luma, state_0 -> part 0 -> queries, keys, values -> attention, attention -> part 1 -> luma_hr, state_0_next
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from streamsr.engines.step_lane import Attention, Tensor
from streamsr.errors import EngineError
from streamsr.models import ModelSpec

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper, shape_inference
except ImportError as error:
    raise EngineError(f"Building an engine needs {error.name}.", hint="pip install 'streamsr[ort]'") from error

DOMAIN, ATTENTION = "streamsr", "LocalAxialAttention"
PROBE = (2, 48, 80)  # n, h, w that shapes are worked out for: no two sides alike
FLOAT_OF_RESIZE = (1, 2)  # inputs of Resize that stay float32: roi, scales


@dataclass(frozen=True)
class Part:
    """Standard operators: float32, n, h and w free."""

    model: onnx.ModelProto
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


Step = Part | Attention


def cut(model: onnx.ModelProto, spec: ModelSpec) -> tuple[Step, ...]:
    """The steps of a model in the order in which they run. Raises EngineError for a model that cannot be run so."""
    try:
        return _cut(model, spec)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as error:
        raise EngineError(f"{spec.path} cannot be cut at its attention: {error}") from error


def _cut(model: onnx.ModelProto, spec: ModelSpec) -> tuple[Step, ...]:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {given.name: input_tensor(given.name, spec) for given in graph.input if given.name not in constants}
    wanted = [made.name for made in graph.output]
    level = dict.fromkeys((*known, *constants, ""), 0)  # attentions on the longest way to a tensor
    nodes: dict[int, list[onnx.NodeProto]] = {}
    attentions: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.node:
        at = max((level[name] for name in node.input), default=0)
        is_attention = (node.domain, node.op_type) == (DOMAIN, ATTENTION)
        if node.domain not in ("", "ai.onnx") and not is_attention:
            raise EngineError(f"{spec.path} uses {node.domain}.{node.op_type}, which no engine here runs.")
        (attentions if is_attention else nodes).setdefault(at, []).append(node)
        level.update(dict.fromkeys(node.output, at + is_attention))
    steps: list[Step] = []
    for at in range(max([*nodes, *attentions], default=0) + 1):
        if nodes.get(at):
            readers = [node for key, found in nodes.items() if key > at for node in found]
            readers += [node for key, found in attentions.items() if key >= at for node in found]
            asked = {*wanted, *(name for node in readers for name in node.input)}
            part = _part(nodes[at], asked, known, constants, model, f"part{at}")
            known |= {tensor.name: tensor for tensor in part.outputs}
            steps.append(part)
        for node in attentions.get(at, []):
            query, key, value = (known[name] for name in node.input)
            result = Tensor(node.output[0], value.channels, value.scale)
            steps.append(Attention((query, key, value), result, next(each.i for each in node.attribute if each.name == "radius")))
            known[result.name] = result
    return tuple(steps)


def _part(
    nodes: list[onnx.NodeProto], asked: Iterable[str], known: dict[str, Tensor], constants: dict[str, onnx.TensorProto],
    model: onnx.ModelProto, name: str,
) -> Part:  # fmt: skip
    """The nodes as a model of their own, and what goes in and comes out."""
    made = [output for node in nodes for output in node.output]
    used = list(dict.fromkeys(source for node in nodes for source in node.input))
    inputs = tuple(known[source] for source in used if source in known)
    outputs = [output for output in made if output in set(asked)]
    opsets = [opset for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    weights = [constants[source] for source in used if source in constants]
    n, h, w = PROBE
    shaped = [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.shape(n, h, w)) for t in inputs]
    open_ends = [helper.make_empty_tensor_value_info(output) for output in outputs]
    probe = helper.make_model(helper.make_graph(nodes, name, shaped, open_ends, weights), opset_imports=opsets)
    probe.ir_version = model.ir_version
    inferred = shape_inference.infer_shapes(probe, strict_mode=True, data_prop=True)
    found = tuple(_tensor_of(made_output) for made_output in inferred.graph.output)
    graph = helper.make_graph(nodes, name, [_free(t) for t in inputs], [_free(t) for t in found], weights)
    whole = helper.make_model(graph, opset_imports=opsets, producer_name="streamsr")
    whole.ir_version = model.ir_version
    return Part(whole, inputs, found)


def input_tensor(name: str, spec: ModelSpec) -> Tensor:
    """An input of the model."""
    sides = {"chroma": (2, 1), "condition": (2, 0)} if spec.has_chroma else {}
    sides |= {state.name: (state.channels, state.scale) for state in spec.states}
    return Tensor(name, *sides.get(name, (1, 1)))


def _tensor_of(made: onnx.ValueInfoProto) -> Tensor:
    shape = [side.dim_value for side in made.type.tensor_type.shape.dim]
    n, h, w = PROBE
    if len(shape) == 4 and shape[0] == 1 and shape[2:] == [1, 1]:
        return Tensor(made.name, shape[1], 0)
    scale = shape[2] // h if len(shape) == 4 else 0
    if len(shape) != 4 or shape[0] != n or scale < 1 or shape[2:] != [scale * h, scale * w]:
        raise EngineError(f"The tensor {made.name!r} becomes {shape} for planes of {PROBE}; (n, channels, s * h, s * w) is needed.")
    return Tensor(made.name, shape[1], scale)


def _free(tensor: Tensor) -> onnx.ValueInfoProto:
    if not tensor.scale:
        return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.shape(1, 1, 1))
    sides = ["h", "w"] if tensor.scale == 1 else [f"h{tensor.scale}", f"w{tensor.scale}"]
    return helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, ["n", tensor.channels, *sides])


def sized(model: onnx.ModelProto, inputs: tuple[Tensor, ...], shape: tuple[int, int, int]) -> onnx.ModelProto:
    """A part for one size of luma (n, h, w) only; its outputs follow from its inputs."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    n, h, w = shape
    for given, tensor in zip(fixed.graph.input, inputs, strict=True):
        for side, value in zip(given.type.tensor_type.shape.dim, tensor.shape(n, h, w), strict=True):
            side.dim_value = value
    return fixed


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same part with float16 weights, inputs and outputs. Raises EngineError for a weight that float16 cannot hold."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    kept = {node.input[at] for node in graph.node if node.op_type == "Resize" for at in FLOAT_OF_RESIZE if at < len(node.input)}
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(tensor)
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            raise EngineError("An int8 file cannot be run in f16; build from the float32 file.")
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
            elif attribute.type == onnx.AttributeProto.TENSOR and not set(node.output) & kept:
                _halve(attribute.t)
    for port in (*graph.input, *graph.output):
        if port.type.tensor_type.elem_type == TensorProto.FLOAT:
            port.type.tensor_type.elem_type = TensorProto.FLOAT16
    return half


def _halve(tensor: onnx.TensorProto) -> None:
    """In place; other types stay."""
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise EngineError(f"The weight {tensor.name!r} has values up to {np.abs(values).max():.3g}, more than float16 holds; use f32.")
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), tensor.name))
