"""`LumaChroma` as an ONNX graph, written node by node: standard operators, named tensors, nothing for an engine to guess.

luma (n, 1, h, w), chroma (n, 2, h, w), condition (1, 2, 1, 1) -> planes (n, 5, h, w) around mid-grey -> Conv, Relu (head)
-> Conv, Relu (body0..), every second one with the features before the pair added where the network is residual -> Conv (tail)
-> luma phases, to which interpolated luma is added, and DepthToSpace
-> luma_hr (n, 1, s h, s w); chroma, which is added -> chroma_hr (n, 2, h, w)

A `RecurrentLumaChroma` also reads state_0 and writes state_0_next (n, channels, h, w): see `_join`.
Of a quantised network every tensor that a convolution reads goes through QuantizeLinear and DequantizeLinear, and weights come in int8,
of the codes -63 to 63 (Note [Sums in 16 bits] of trainer.nets.int8_arithmetic).
"""

import pathlib
import re
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trainer.export.onnx_attention import DOMAIN, OPSET, VERSION, attend, attention_function
from trainer.nets.int8_arithmetic import weight_codes
from trainer.nets.luma_chroma import CHROMA_GAIN, MIDDLE, LumaChroma, gain_of_planes
from trainer.nets.quantised_luma_chroma import CODE, LumaChromaInt8
from trainer.nets.recurrent_luma_chroma import JOIN, RecurrentLumaChroma
from trainer.trainer_error import TrainerError

IR_VERSION = 8  # the IR that came with opset 17: older runtimes refuse newer ones


class _Graph:
    """Nodes and weights as they are added."""

    def __init__(self, steps: NDArray[np.float32] | None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.steps = steps  # of the activations of a quantised network

    def constant(self, name: str, value: Any) -> str:
        """value: an array or a NumPy scalar."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind.lower()}.{output}", **attributes))
        return output

    def rounded(self, name: str, step: float, zero: Any) -> str:
        """Through 8 bits and back."""
        scale, point = self.constant(f"{name}.step", np.float32(step)), self.constant(f"{name}.zero", zero)
        codes = self.add("QuantizeLinear", [name, scale, point], f"{name}.codes")
        return self.add("DequantizeLinear", [codes, scale, point], f"{name}.rounded")

    def convolve(self, name: str, given: str, weight_OIKK: torch.Tensor, bias_O: torch.Tensor) -> str:
        weight = weight_OIKK.detach()
        if self.steps is None:
            weight_name = self.constant(f"{name}.weight", weight.numpy())
        else:
            codes, steps = weight_codes(weight)
            scale = self.constant(f"{name}.weight.step", steps.numpy())
            zero = self.constant(f"{name}.weight.zero", np.zeros(len(codes), np.int8))
            stored = self.constant(f"{name}.weight.codes", codes.to(torch.int8).numpy())
            weight_name = self.add("DequantizeLinear", [stored, scale, zero], f"{name}.weight", axis=0)
        bias = self.constant(f"{name}.bias", bias_O.detach().numpy())
        size = weight.shape[-1]
        return self.add("Conv", [given, weight_name, bias], f"{name}.out", kernel_shape=[size, size], pads=[size // 2] * 4)


def _join(net: RecurrentLumaChroma, graph: _Graph, features: str) -> tuple[str, list[str]]:
    """Where the state joins the features: the result, and what the next state learns by attention."""
    parts, learned = [features, "state_0"], []
    if net.attention is not None:

        def convolve(name: str, conv: torch.nn.Conv2d, given: str) -> str:
            assert conv.bias is not None
            return graph.convolve(name, given, conv.weight, conv.bias)

        by_frame, by_state = attend(net.attention, graph.nodes, graph.weights, convolve, features, "state_0")
        parts.append(by_frame)
        learned.append(by_state)
    assert net.join.bias is not None
    joined = graph.convolve("join", graph.add("Concat", parts, "joined", axis=1), net.join.weight, net.join.bias)
    return graph.add("Relu", [joined], "join.relu"), learned


def _larger(net: LumaChroma, graph: _Graph) -> str:
    """The luma that the phases are added to."""
    margins = graph.constant("interpolation.margins", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    padded = graph.add("Pad", ["luma", margins], "luma.padded", mode="edge")
    weight = graph.constant("interpolation.weight", net.interpolation.numpy())
    return graph.add("Conv", [padded, weight], "luma.interpolated", kernel_shape=[3, 3])


def onnx_of(net: LumaChroma, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    """A checked model with its weights inside the file: float32, or int8 of a `LumaChromaInt8`."""
    phases = net.scale**2
    steps = net.log_step.detach().exp().numpy() if isinstance(net, LumaChromaInt8) else None
    graph = _Graph(steps)

    def activation(name: str, given: str, point: int) -> str:
        result = graph.add("Relu", [given], f"{name}.relu")
        return result if steps is None else graph.rounded(result, float(steps[point]), np.uint8(0))

    blank = graph.add("Mul", ["luma", graph.constant("nothing", np.float32(0))], "blank")  # planes of any size from two numbers
    told = graph.add("Add", [blank, "condition"], "told")
    planes = graph.add("Concat", ["luma", "chroma", told], "planes", axis=1)
    last = graph.add("Add", [planes, graph.constant("minus_middle", np.float32(-MIDDLE))], "centred")
    if steps is not None:
        last = graph.rounded(last, CODE, np.uint8(128))  # with a sign OpenVINO would run the head in float32: 41 ms in place of 33
    assert net.head.bias is not None
    assert net.tail.bias is not None
    learned: list[str] = []
    last = before = activation("head", graph.convolve("head", last, net.head.weight * gain_of_planes(net.head.weight), net.head.bias), 0)
    for i, conv in enumerate(net.body):
        assert isinstance(conv, torch.nn.Conv2d)
        assert conv.bias is not None
        last = graph.convolve(f"body{i}", last, conv.weight, conv.bias)
        if net.residual and i % 2:
            last = graph.add("Add", [last, before], f"body{i}.sum")
        last = activation(f"body{i}", last, i + 1)
        if isinstance(net, RecurrentLumaChroma) and i + 1 == JOIN:
            last, learned = _join(net, graph, last)
        if i % 2:
            before = last
    smaller = torch.cat([torch.ones(phases), torch.full((2,), 1 / CHROMA_GAIN)])
    # two convolutions: an engine makes the four phases of x2 in one, and chroma in another (streamsr.engines.openvino_tail)
    luma = graph.convolve("tail", last, net.tail.weight[:phases], net.tail.bias[:phases])
    graph.add("DepthToSpace", [graph.add("Add", [luma, _larger(net, graph)], "phases")], "luma_hr", blocksize=net.scale, mode="CRD")
    weight, bias = net.tail.weight[phases:] * smaller[phases:].view(-1, 1, 1, 1), net.tail.bias[phases:] * smaller[phases:]
    graph.add("Add", [graph.convolve("chroma_tail", last, weight, bias), "chroma"], "chroma_hr")

    def tensor(name: str, *sides: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(sides))

    given = [tensor("luma", "n", 1, "h", "w"), tensor("chroma", "n", 2, "h", "w"), tensor("condition", 1, 2, 1, 1)]
    made = [tensor("luma_hr", "n", 1, f"{net.scale}*h", f"{net.scale}*w"), tensor("chroma_hr", "n", 2, "h", "w")]
    functions = []
    if isinstance(net, RecurrentLumaChroma):
        assert net.update.bias is not None
        source = graph.add("Concat", [last, *learned], "state_in", axis=1) if learned else last
        graph.add("Tanh", [graph.convolve("update", source, net.update.weight, net.update.bias)], "state_0_next")
        given.append(tensor("state_0", "n", net.channels, "h", "w"))
        made.append(tensor("state_0_next", "n", net.channels, "h", "w"))
        functions = [attention_function(net.radius)] if net.radius else []
    model = helper.make_model(
        helper.make_graph(graph.nodes, "luma_chroma", given, made, graph.weights), functions=functions, producer_name="streamsr trainer",
        opset_imports=[helper.make_opsetid("", OPSET), *([helper.make_opsetid(DOMAIN, VERSION)] if functions else [])],
    )  # fmt: skip
    model.ir_version = IR_VERSION
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    return model


def weights_of_onnx(file: pathlib.Path) -> dict[str, torch.Tensor]:
    """The float32 weights of a file that `onnx_of` made, by their names in the network. Raises TrainerError for any other file."""
    try:
        graph = onnx.load(file).graph
        stored = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
        head = stored["head.weight"]
        weights = {"head.weight": head / gain_of_planes(head), "head.bias": stored["head.bias"]}
        for part in ("weight", "bias"):
            weights[f"tail.{part}"] = torch.cat([stored[f"tail.{part}"], stored[f"chroma_tail.{part}"] * CHROMA_GAIN])
    except Exception as error:  # whatever protobuf says of a foreign file
        raise TrainerError(f"{str(file)!r} is not an exported network of luma and chroma: {error}") from error
    others = ((re.sub(r"^body(\d+)", r"body.\1", re.sub(r"^of_", "attention.of_", name)), value) for name, value in stored.items())
    return weights | {name: value for name, value in others if name.startswith(("body", "join", "update", "attention.of_"))}
