"""`Lite` as an ONNX graph, written node by node: standard operators, named tensors, nothing for an engine to guess.

luma (n, 1, h, w) -> Conv, Relu (head) -> Conv, Relu (body0..) -> Add head (skip, where the tail is 1x1) -> Conv, Relu (last of body)
-> Conv (tail) -> Add luma -> DepthToSpace -> luma_hr (n, 1, s h, s w)
"""

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from trainer.nets import Lite

OPSET = 17
IR_VERSION = 8  # the IR that came with opset 17: older runtimes refuse newer ones
RESIDUAL_NODES = ("residual", "shuffle")  # kept out of int8: 8 bits of luma plus 8 bits of detail do not fit in 8 bits


def onnx_of(net: Lite, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    """A checked float32 model with its weights inside the file."""
    nodes, weights = [], []
    last = "luma"

    def convolve(name: str, conv: torch.nn.Conv2d, *, relu: bool) -> None:
        nonlocal last
        for part in ("weight", "bias"):
            value = getattr(conv, part).detach().cpu().contiguous().numpy()
            weights.append(numpy_helper.from_array(value, f"{name}.{part}"))
        inputs = [last, f"{name}.weight", f"{name}.bias"]
        last = f"{name}.out"
        size = conv.kernel_size[0]
        nodes.append(helper.make_node("Conv", inputs, [last], name=name, kernel_shape=[size, size], pads=[size // 2] * 4))
        if relu:
            nodes.append(helper.make_node("Relu", [last], [f"{name}.relu"], name=f"{name}_relu"))
            last = f"{name}.relu"

    convolve("head", net.head, relu=True)
    first = last
    for i, conv in enumerate(net.body):
        assert isinstance(conv, torch.nn.Conv2d)
        if i == net.layers - 1 and net.has_skip:
            nodes.append(helper.make_node("Add", [last, first], ["skip.out"], name="skip"))
            last = "skip.out"
        convolve(f"body{i}", conv, relu=True)
    convolve("tail", net.tail, relu=False)
    nodes.append(helper.make_node("Add", [last, "luma"], ["detail"], name="residual"))
    nodes.append(helper.make_node("DepthToSpace", ["detail"], ["luma_hr"], name="shuffle", blocksize=net.scale, mode="CRD"))

    # Dimension names of the output say what an ONNX dimension can: the engine multiplies by the scale of the model's JSON
    given = helper.make_tensor_value_info("luma", TensorProto.FLOAT, ["n", 1, "h", "w"])
    made = helper.make_tensor_value_info("luma_hr", TensorProto.FLOAT, ["n", 1, f"{net.scale}*h", f"{net.scale}*w"])
    graph = helper.make_graph(nodes, "lite", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="streamsr trainer")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, metadata or {})
    onnx.checker.check_model(model, full_check=True)
    return model
