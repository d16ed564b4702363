"""OpenVINO reads no ONNX functions: what it runs for `streamsr.LocalAxialAttention`, from the operators of its own.

The same arithmetic as the function's body in the file, which any other runtime runs as it is
(trainer/nets/local_axial_attention.py).
"""

from __future__ import annotations

import numpy as np
from openvino import Output
from openvino import opset13 as opset
from openvino.frontend import NodeContext
from openvino.frontend.onnx import ConversionExtension

ROWS, COLUMNS = 2, 3  # the axes of N, C, H, W that are looked along


def convert(node: NodeContext) -> list[Output]:
    """query, key (N, D, H, W) and value (N, C, H, W) -> (N, C, H, W)."""
    radius = node.get_attribute("radius")
    query, key, value = (node.get_input(index) for index in range(3))
    sides = [_along(query, key, value, radius, axis) for axis in (COLUMNS, ROWS)]
    return [opset.multiply(opset.add(*sides), np.float32(0.5)).output(0)]


def _along(query: Output, key: Output, value: Output, radius: int, axis: int) -> Output:
    """Each position looks at those within `radius` along `axis`; zeros outside."""
    margin = np.zeros(4, np.int64)
    margin[axis] = radius
    keys, values = (opset.pad(side, margin, margin, "constant", np.float32(0)) for side in (key, value))
    last = 2 * radius

    def shifted(side: Output, offset: int) -> Output:
        stop = np.array([offset - last or np.iinfo(np.int64).max], np.int64)
        return opset.slice(side, np.array([offset], np.int64), stop, np.array([1], np.int64), np.array([axis], np.int64)).output(0)

    channel = np.array([1], np.int64)
    scores = [opset.reduce_sum(opset.multiply(query, shifted(keys, at)), channel, True) for at in range(last + 1)]
    weights = opset.split(opset.softmax(opset.concat(scores, 1), 1), np.int64(1), last + 1).outputs()
    result = opset.multiply(weights[0], shifted(values, 0))
    for at in range(1, last + 1):
        result = opset.add(result, opset.multiply(weights[at], shifted(values, at)))
    return result.output(0)


ATTENTION = ConversionExtension("LocalAxialAttention", "streamsr", convert)
