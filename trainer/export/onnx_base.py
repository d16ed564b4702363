"""`Base` as an ONNX graph, written node by node. Inputs luma and state_0, outputs luma_hr and state_0_next; see streamsr/models.py."""

from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from trainer.export.onnx_attention import DOMAIN, OPSET, VERSION, attend, attention_function
from trainer.nets import Base

IR_VERSION = 8  # the IR that came with opset 17: older runtimes refuse newer ones
EXACT_NODES = ("residual", "shuffle", "update", "state", "state_in", "of_frame", "of_state")  # kept out of int8, with all of the attention


def onnx_of_base(net: Base, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    """A checked float32 model with its weights inside the file."""
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def node(op: str, inputs: list[str], output: str, name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def convolve(name: str, conv: torch.nn.Conv2d, source: str, *, relu: bool = False) -> str:
        for part in ("weight", "bias"):
            value = getattr(conv, part).detach().cpu().contiguous().numpy()
            weights.append(numpy_helper.from_array(value, f"{name}.{part}"))
        size = conv.kernel_size[0]
        inputs = [source, f"{name}.weight", f"{name}.bias"]
        out = node("Conv", inputs, f"{name}.out", name, kernel_shape=[size, size], pads=[size // 2] * 4)
        return node("Relu", [out], f"{name}.relu", f"{name}_relu") if relu else out

    y = convolve("head", net.head, "luma", relu=True)
    learned = []
    if net.recurrent:
        parts = [y, "state_0"]
        if net.attention is not None:
            by_frame, by_state = attend(net.attention, nodes, weights, convolve, y, "state_0")
            parts.append(by_frame)
            learned.append(by_state)
        y = convolve("join", net.join, node("Concat", parts, "joined", "joined", axis=1), relu=True)
    for i in range(0, net.layers, 2):
        first, second = net.body[i], net.body[i + 1]
        assert isinstance(first, torch.nn.Conv2d)
        assert isinstance(second, torch.nn.Conv2d)
        inner = convolve(f"body{i + 1}", second, convolve(f"body{i}", first, y, relu=True))
        y = node("Relu", [node("Add", [y, inner], f"pair{i}.sum", f"pair{i}_sum")], f"pair{i}", f"pair{i}")
    node("Add", [convolve("tail", net.tail, y), "luma"], "detail", "residual")
    node("DepthToSpace", ["detail"], "luma_hr", "shuffle", blocksize=net.scale, mode="CRD")
    given, made = [_tensor("luma", 1)], [_tensor("luma_hr", 1, f"{net.scale}*h", f"{net.scale}*w")]
    if net.recurrent:
        source = node("Concat", [y, *learned], "state_in", "state_in", axis=1) if learned else y
        node("Tanh", [convolve("update", net.update, source)], "state_0_next", "state")
        given.append(_tensor("state_0", net.channels))
        made.append(_tensor("state_0_next", net.channels))
    attends = net.recurrent and net.attention is not None
    opsets = [helper.make_opsetid("", OPSET), *([helper.make_opsetid(DOMAIN, VERSION)] if attends else [])]
    model = helper.make_model(
        helper.make_graph(nodes, "base", given, made, weights), opset_imports=opsets, producer_name="streamsr trainer",
        functions=[attention_function(net.radius)] if attends else [],
    )  # fmt: skip
    model.ir_version = IR_VERSION
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    return model


def _tensor(name: str, channels: int, height: str = "h", width: str = "w") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, height, width])
