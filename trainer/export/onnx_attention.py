"""`streamsr.LocalAxialAttention` as an ONNX function: its body is standard operators, and a CUDA engine may put a kernel in its place.

query, key (N, D, H, W) and value (N, C, H, W) -> (N, C, H, W); see trainer/nets/local_axial_attention.py.
The attribute `radius` says what the body, which is unrolled for one radius, does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from torch import nn

from trainer.nets.local_axial_attention import BiAttention

DOMAIN, NAME, VERSION = "streamsr", "LocalAxialAttention", 1
OPSET = 17


def attention_function(radius: int) -> onnx.FunctionProto:
    """The function for one radius."""
    nodes: list[onnx.NodeProto] = []

    def node(op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    def constant(name: str, value: np.ndarray) -> str:
        return node("Constant", [], [name], value=numpy_helper.from_array(value, name))

    channel = constant("channel", np.array([1], np.int64))
    for at in range(2 * radius + 1):
        constant(f"at{at}", np.array([at], np.int64))
        constant(f"stop{at}", np.array([at - 2 * radius or np.iinfo(np.int64).max], np.int64))
    sides = []
    for axis, label in ((3, "row"), (2, "column")):
        along = constant(f"{label}_axis", np.array([axis], np.int64))
        margin = np.zeros(8, np.int64)
        margin[axis] = margin[axis + 4] = radius
        pads = constant(f"{label}_pads", margin)
        padded = {side: node("Pad", [side, pads], [f"{label}_{side}"]) for side in ("key", "value")}

        def shifted(side: str, at: int, label: str = label, along: str = along, padded: dict[str, str] = padded) -> str:
            return node("Slice", [padded[side], f"at{at}", f"stop{at}", along], [f"{label}_{side}{at}"])

        scores = []
        for at in range(2 * radius + 1):
            product = node("Mul", ["query", shifted("key", at)], [f"{label}_product{at}"])
            scores.append(node("ReduceSum", [product, channel], [f"{label}_score{at}"], keepdims=1))
        stacked = node("Concat", scores, [f"{label}_scores"], axis=1)
        softmax = node("Softmax", [stacked], [f"{label}_weights"], axis=1)
        total = ""
        for at in range(2 * radius + 1):
            stop = constant(f"{label}_end{at}", np.array([at + 1], np.int64))
            weight = node("Slice", [softmax, f"at{at}", stop, channel], [f"{label}_weight{at}"])
            part = node("Mul", [weight, shifted("value", at)], [f"{label}_part{at}"])
            total = node("Add", [total, part], [f"{label}_sum{at}"]) if total else part
        sides.append(total)
    node("Mul", [node("Add", sides, ["both"]), constant("half", np.array(0.5, np.float32))], ["result"])
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, NAME, ["query", "key", "value"], ["result"], nodes, opset, attributes=["radius"])


def attend(
    attention: BiAttention, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], convolve: Callable[[str, nn.Conv2d, str], str],
    frame: str, state: str,
) -> tuple[str, str]:  # fmt: skip
    """Add the two directions of BiAttention between two tensors; returns what the frame and what the state learned.

    convolve: adds a convolution of a name that reads a tensor, and returns its result.
    """
    parts = np.array([attention.compared, attention.compared, attention.learned], np.int64)
    weights.append(numpy_helper.from_array(parts, "attention.parts"))
    for label, conv, source in (("frame", attention.of_frame, frame), ("state", attention.of_state, state)):
        projected = convolve(f"of_{label}", conv, source)
        outputs = [f"{part}_{label}" for part in ("query", "key", "value")]
        nodes.append(helper.make_node("Split", [projected, "attention.parts"], outputs, name=f"split_{label}", axis=1))
    for asking, asked in (("frame", "state"), ("state", "frame")):
        inputs = [f"query_{asking}", f"key_{asked}", f"value_{asked}"]
        nodes.append(helper.make_node(NAME, inputs, [f"by_{asking}"], name=f"attention_{asking}", domain=DOMAIN, radius=attention.radius))
    return "by_frame", "by_state"
