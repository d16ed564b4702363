"""The int8 file of a `QuantisedLite`: its ONNX graph with a quantise-dequantise pair before everything that a convolution reads."""

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from trainer.export.onnx_lite import RESIDUAL_NODES, onnx_of
from trainer.nets import QuantisedLite
from trainer.nets.int8_arithmetic import weight_codes


def onnx_int8_of(net: QuantisedLite, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
    """A checked int8 model (QuantizeLinear / DequantizeLinear) that computes what `net` does, up to the rounding of ties."""
    model = onnx_of(net, metadata)
    graph = model.graph
    weights = {value.name: numpy_helper.to_array(value) for value in graph.initializer if value.name.endswith(".weight")}
    values = [value for value in graph.initializer if value.name not in weights]
    nodes = []
    for name, weight_OIKK in weights.items():
        codes_OIKK, step_O = weight_codes(torch.from_numpy(weight_OIKK.copy()))
        values.append(numpy_helper.from_array(codes_OIKK.to(torch.int8).numpy(), f"{name}.codes"))
        values += _scale(name, step_O.numpy(), np.zeros(len(step_O), np.int8))
        nodes.append(_dequantise(name, axis=0))
    steps = {"luma": np.float32(1 / 255)} | dict(zip(net.points, net.log_step.detach().exp().numpy(), strict=True))
    for name, step in steps.items():
        values += _scale(name, np.array(step, np.float32), np.array(0, np.uint8))
    nodes += _rounded("luma")
    for node in graph.node:
        if node.name not in RESIDUAL_NODES:
            node.input[:] = [f"{name}.rounded" if name in weights or name in steps else name for name in node.input]
        nodes.append(node)
        nodes += [extra for name in node.output if name in steps for extra in _rounded(name)]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(values)
    onnx.checker.check_model(model, full_check=True)
    return model


def _scale(name: str, step: NDArray[np.float32], zero: NDArray[np.generic]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(step, f"{name}.step"), numpy_helper.from_array(zero, f"{name}.zero")]


def _rounded(name: str) -> list[onnx.NodeProto]:
    inputs = [name, f"{name}.step", f"{name}.zero"]
    return [helper.make_node("QuantizeLinear", inputs, [f"{name}.codes"], name=f"{name}.quantise"), _dequantise(name)]


def _dequantise(name: str, *, axis: int | None = None) -> onnx.NodeProto:
    """axis: of the weights' output channels; None: one step for the whole tensor."""
    inputs = [f"{name}.codes", f"{name}.step", f"{name}.zero"]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}.rounded"], name=f"{name}.dequantise", axis=axis)
