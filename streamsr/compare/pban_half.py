"""The metric's matrix products in half precision, as tensor cores have them; all else in single precision.

Note [Half of the metric]: inputs, weights and results of convolutions and products are rounded to float16, sums are float32. Of 36 pairs
of photographs and blurred, resized and posterised ones, computed so on a CPU, the score that moved most did by 6.3e-4 (8.3e-4 with
convolutions of single channels, which tensor cores do not do; they stay). Means, quotients and differences of nearly equal pictures are
never rounded, and equal pictures keep 1. A weight that float16 cannot hold keeps its node in single precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PRODUCTS = ("Conv", "Gemm")
_LARGEST = float(np.finfo(np.float16).max)


def in_half(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, onnx.TensorProto], extra: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """The nodes with their products in float16: what comes and goes is float32 as before. extra: gets the weights in float16."""
    made: list[onnx.NodeProto] = []
    halves: dict[str, str] = {}  # by the name in single precision
    for node in nodes:
        names = [name for name in node.input if name]
        if node.op_type not in PRODUCTS or _is_grouped(node) or not all(_fits(constants[name]) for name in names if name in constants):
            made.append(node)
            continue
        product = onnx.NodeProto()
        product.CopyFrom(node)
        for place, name in enumerate(node.input):
            if name and name not in halves:
                halves[name] = f"{name}.f16"
                if name in constants:
                    values = numpy_helper.to_array(constants[name]).astype(np.float16)
                    extra.append(numpy_helper.from_array(values, halves[name]))
                else:
                    made.append(helper.make_node("Cast", [name], [halves[name]], to=TensorProto.FLOAT16))
            product.input[place] = halves.get(name, "")
        product.output[0] = f"{node.output[0]}.product"
        made += [product, helper.make_node("Cast", [product.output[0]], [node.output[0]], to=TensorProto.FLOAT)]
    return made


def _is_grouped(node: onnx.NodeProto) -> bool:
    """Whether channels are convolved by themselves, which tensor cores do not do."""
    return any(each.name == "group" and each.i > 1 for each in node.attribute)


def _fits(constant: onnx.TensorProto) -> bool:
    """Whether a weight is one that float16 holds."""
    return constant.data_type == TensorProto.FLOAT and bool(np.abs(numpy_helper.to_array(constant)).max(initial=0) <= _LARGEST)
