"""The metric's ONNX file cut at its attention, for a GPU: TensorRT runs what is before and behind, the kernel the attention.

Note [One attention]: in each network of the ensemble the picture attends to the original and the reverse, by `axial_attention`
(trainer/metric/bidirectional_attention.py). All of them run at once and have one shape, so they form one batch: the first part stacks
queries, keys and values, float16 (pairs, C, H, W) as the kernel takes them, and the second takes the results apart.
    sr, hr -> part 1 -> query, key, value -> kernel -> attended -> part 2 -> score
The parts' own products are float16 too: Note [Half of the metric] of pban_half.
Everything else that the second part needs of the first goes along as it is.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from ..errors import EngineError
from .pban_half import in_half

QUERY, KEY, VALUE, ATTENDED = "query", "key", "value", "attended"
_ROWS, _COLUMNS = (0, 2, 3, 1), (0, 3, 2, 1)  # of NCHW: lines are rows or columns, then positions, then channels


@dataclass(frozen=True)
class Port:
    """A tensor that goes into a part or comes out of it."""

    name: str
    shape: tuple[int, ...]
    dtype: str  # "float32", "float16"


@dataclass(frozen=True)
class MetricPart:
    """Standard operators alone, of fixed shapes."""

    model: onnx.ModelProto
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class _Attention:
    """One axial attention as it is found in the graph. query, key, value: NCHW. nodes: what only it needs."""

    query: str
    key: str
    value: str
    result: str  # NCHW


def split_metric(model: bytes, height: int, width: int) -> tuple[MetricPart, MetricPart]:
    """The two parts for pictures of this size. Raises EngineError for a file without such attentions."""
    folded = fold(model, height, width)
    graph = folded.graph
    found = find_attentions(graph)
    if not found:
        raise EngineError("The metric's file has no attention that the kernel knows.", hint="--device cpu runs it as it is")
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    one = _one_shape(found, shapes)
    stacked = (len(found) * one[0], *one[1:])
    first_nodes = _needed(graph, {name for each in found for name in (each.query, each.key, each.value)}, stop=set())
    second_nodes = _needed(graph, {graph.output[0].name}, stop={each.result for each in found})
    made_first = {output for node in first_nodes for output in node.output}
    repeated = [node for node in second_nodes if node.output[0] in made_first]
    second_nodes = [node for node in second_nodes if node.output[0] not in made_first]
    asked = {name for node in second_nodes for name in node.input}
    shared = sorted({output for node in repeated for output in node.output} & asked)
    pack = _packing(found)
    unpack = [helper.make_node("Cast", [ATTENDED], [f"{ATTENDED}_f32"], to=TensorProto.FLOAT)]
    sizes = helper.make_tensor("attended_sizes", TensorProto.INT64, [len(found)], [one[0]] * len(found))
    unpack.append(helper.make_node("Split", [f"{ATTENDED}_f32", "attended_sizes"], [each.result for each in found], axis=0))
    through = [Port(name, shapes[name] or (), "float32") for name in shared]
    pictures = tuple(Port(given.name, shapes[given.name] or (), "float32") for given in graph.input)
    asking = tuple(Port(name, stacked, "float16") for name in (QUERY, KEY, VALUE))
    score = Port(graph.output[0].name, shapes[graph.output[0].name] or (1,), "float32")
    used = tuple(port for port in pictures if port.name in asked)
    first = _part(folded, [*first_nodes, *pack], pictures, (*asking, *through), [])
    second = _part(folded, [*unpack, *second_nodes], (Port(ATTENDED, stacked, "float16"), *through, *used), (score,), [sizes])
    return first, second


def _packing(found: Sequence[_Attention]) -> list[onnx.NodeProto]:
    """Nodes that stack the queries, keys and values of all attentions, in half precision."""
    pack = []
    for name, part in ((QUERY, "query"), (KEY, "key"), (VALUE, "value")):
        pack.append(helper.make_node("Concat", [getattr(each, part) for each in found], [f"{name}_f32"], axis=0))
        pack.append(helper.make_node("Cast", [f"{name}_f32"], [name], to=TensorProto.FLOAT16))
    return pack


def _one_shape(found: Sequence[_Attention], shapes: Mapping[str, tuple[int, ...] | None]) -> tuple[int, ...]:
    """The shape that all attentions have. Raises EngineError."""
    alike = {shapes.get(name) for each in found for name in (each.query, each.key, each.value, each.result)}
    if len(alike) != 1 or None in alike:
        raise EngineError(f"The metric's attentions have shapes {sorted(map(str, alike))}; they have to be one.")
    (one,) = alike
    assert one is not None
    return one


def fold(model: bytes, height: int, width: int) -> onnx.ModelProto:
    """The model for one size, with everything computed that depends on the size alone, and the shape of each tensor."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError("The metric on a GPU is prepared by ONNX Runtime.", hint="pip install 'streamsr[ort]'") from error
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 3
        for side, value in (("n", 1), ("h", height), ("w", width)):
            options.add_free_dimension_override_by_name(side, value)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)
    for given in folded.graph.input:
        for side, value in zip(given.type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
            side.dim_value = value
    del folded.graph.value_info[:]
    return shape_inference.infer_shapes(folded, strict_mode=True, data_prop=True)


def find_attentions(graph: onnx.GraphProto) -> list[_Attention]:
    """rows + columns, halved: softmax(q k^T / sqrt(C)) v along each, in their order."""
    made = {output: node for node in graph.node for output in node.output}
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    constants = {tensor.name for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "Add":
            continue
        sides = [_line(name, made) for name in node.input]
        if None in sides:
            continue
        by_direction = {direction: inputs for direction, inputs in sides if direction is not None}  # type: ignore[misc]
        if len(by_direction) != 2 or by_direction["rows"] != by_direction["columns"]:
            continue
        result = node.output[0]
        for wanted in ("halve", "Transpose"):
            (reader,) = readers[result]
            is_halving = reader.op_type in ("Div", "Mul") and any(name in constants for name in reader.input)
            if not (is_halving if wanted == "halve" else reader.op_type == "Transpose"):
                break
            result = reader.output[0]
        else:
            query, key, value = by_direction["rows"]
            found.append(_Attention(query, key, value, result))
    return found


def _line(name: str, made: dict[str, onnx.NodeProto]) -> tuple[str, tuple[str, str, str]] | None:
    """("rows" or "columns", (query, key, value) in NCHW) where a tensor is attention along lines, (N, H, W, C); else None."""
    weighed, turned = _through_transposes(name, made)
    product = made.get(weighed)
    if product is None or product.op_type != "MatMul" or made.get(product.input[0]) is None:
        return None
    softmax = made[product.input[0]]
    if softmax.op_type != "Softmax":
        return None
    scaled = made.get(softmax.input[0])
    logits = next((made[each] for each in scaled.input if made.get(each) is not None and made[each].op_type == "MatMul"), None) if (
        scaled is not None and scaled.op_type in ("Mul", "Div")) else None  # fmt: skip
    if logits is None:
        return None
    query, key, value = (_through_transposes(each, made) for each in (*logits.input, product.input[1]))
    for direction, order, back in (("rows", _ROWS, (0, 1, 2, 3)), ("columns", _COLUMNS, (0, 2, 1, 3))):
        swapped = (*order[:2], order[3], order[2])  # the key is transposed for the product
        if (query[1], key[1], value[1], turned) == (order, swapped, order, back):
            return direction, (query[0], key[0], value[0])
    return None


def _through_transposes(name: str, made: dict[str, onnx.NodeProto]) -> tuple[str, tuple[int, ...]]:
    """(the tensor before, the order of its axes in `name`), of four axes."""
    order = (0, 1, 2, 3)
    while (node := made.get(name)) is not None and node.op_type == "Transpose":
        turn = tuple(next(each.ints for each in node.attribute if each.name == "perm"))
        order, name = tuple(turn[axis] for axis in order), node.input[0]
    return name, order


def _needed(graph: onnx.GraphProto, wanted: set[str], *, stop: set[str]) -> list[onnx.NodeProto]:
    """The nodes that make `wanted` out of the graph's inputs and `stop`, in their order."""
    open_ends, kept = set(wanted), []
    for node in reversed(graph.node):
        if open_ends & set(node.output) and not stop & set(node.output):
            kept.append(node)
            open_ends |= {name for name in node.input if name}
    return kept[::-1]


def _part(
    whole: onnx.ModelProto, nodes: list[onnx.NodeProto], inputs: tuple[Port, ...], outputs: tuple[Port, ...], extra: list[onnx.TensorProto]
) -> MetricPart:  # fmt: skip
    constants = {tensor.name: tensor for tensor in whole.graph.initializer}
    nodes = in_half([plain for node in nodes for plain in without_scatter(node, constants, extra)], constants, extra)
    asked = {name for node in nodes for name in node.input}
    weights = [tensor for tensor in whole.graph.initializer if tensor.name in asked]
    kinds = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
    given, made = (
        [helper.make_tensor_value_info(port.name, kinds[port.dtype], port.shape) for port in ports] for ports in (inputs, outputs)
    )
    opsets = [opset for opset in whole.opset_import if opset.domain in ("", "ai.onnx")]
    graph = helper.make_graph(nodes, "metric", given, made, [*weights, *extra])
    model = helper.make_model(graph, opset_imports=opsets, producer_name="streamsr")
    model.ir_version = min(whole.ir_version, 10)
    onnx.checker.check_model(model)
    return MetricPart(model, inputs, outputs)


def without_scatter(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], extra: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """A sum of columns that belong together, (1, columns) -> (1, groups), by operators that TensorRT has; other nodes as they are.

    In the file it is a ScatterElements that adds, at places that the size decides. Raises EngineError where they are not in order.
    """
    if node.op_type != "ScatterElements":
        return [node]
    zeros, places = (constants.get(name) for name in node.input[:2])
    adds = any(each.name == "reduction" and each.s == b"add" for each in node.attribute)
    groups = None if places is None else numpy_helper.to_array(places).reshape(-1)
    if zeros is None or groups is None or not adds or numpy_helper.to_array(zeros).any() or (np.diff(groups) < 0).any():
        raise EngineError(f"The metric's {node.name} adds at places that are not known beforehand; TensorRT does not know that.")
    counts = np.bincount(groups, minlength=zeros.dims[1])
    name = node.output[0]
    extra += [numpy_helper.from_array(counts, f"{name}_counts"), numpy_helper.from_array(np.array([1], np.int64), f"{name}_axis")]
    pieces = [f"{name}_{index}" for index in range(len(counts))]
    sums = [helper.make_node("ReduceSum", [piece, f"{name}_axis"], [f"{piece}_sum"], keepdims=1) for piece in pieces]
    return [
        helper.make_node("Split", [node.input[2], f"{name}_counts"], pieces, axis=1), *sums,
        helper.make_node("Concat", [f"{piece}_sum" for piece in pieces], [name], axis=1),
    ]  # fmt: skip


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value for side in sides) if all(side.HasField("dim_value") for side in sides) else None
