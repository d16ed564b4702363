"""Random-weight models with the shape of the shipped ones, so that engines can be tested before and without training.

    conv 1 -> channels, ReLU; (layers - 2) x conv channels -> channels, ReLU; conv channels -> scale**2;
    + the luma of each pixel repeated scale**2 times; depth to space.

`reference` computes the same network in float64 with NumPy alone: it is what the engines are compared with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Network:
    """weights: (out, in, 3, 3) float32 of each layer; biases: (out,) float32."""

    scale: int
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]


def make_network(*, scale: int = 2, channels: int = 16, layers: int = 6, seed: int = 1) -> Network:
    """A network whose activations stay of order one and whose residual is about a tenth of the signal."""
    rng = np.random.default_rng(seed)
    sizes = [1] + [channels] * (layers - 1) + [scale * scale]
    weights, biases = [], []
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight = rng.normal(0, np.sqrt(2 / (9 * fan_in)), (fan_out, fan_in, 3, 3))
        if index == len(sizes) - 2:
            weight *= 0.1
        weights.append(weight.astype(np.float32))
        biases.append(rng.normal(0, 0.02, fan_out).astype(np.float32))
    return Network(scale, tuple(weights), tuple(biases))


def reference(network: Network, luma: np.ndarray) -> np.ndarray:
    """Luma in [0, 1], (h, w) -> (scale * h, scale * w) float64, unclipped."""
    x_CHW = luma[None].astype(np.float64)
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        padded = np.pad(x_CHW, ((0, 0), (1, 1), (1, 1)))
        windows = sliding_window_view(padded, (3, 3), axis=(1, 2))  # C, H, W, 3, 3
        x_CHW = np.einsum("chwyx,ocyx->ohw", windows, weight.astype(np.float64), optimize=True) + bias[:, None, None]
        if index < len(network.weights) - 1:
            x_CHW = np.maximum(x_CHW, 0)
    x_CHW = x_CHW + luma[None]
    s, (h, w) = network.scale, luma.shape
    return x_CHW.reshape(s, s, h, w).transpose(2, 0, 3, 1).reshape(h * s, w * s)


def write_model(network: Network, folder: Path, name: str = "tiny", *, int8: bool = True) -> Path:
    """Write NAME_xS.onnx, NAME_xS_int8.onnx and NAME_xS.json to `folder`; returns the float model's path."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}_x{network.scale}"
    path = folder / f"{stem}.onnx"
    onnx.save(build_graph(network), path)
    quantised = None
    if int8:
        quantised_path = folder / f"{stem}_int8.onnx"
        onnx.save(build_graph(network, int8=True), quantised_path)
        quantised = {"file": quantised_path.name, "sha256": hashlib.sha256(quantised_path.read_bytes()).hexdigest()}
    channels, layers = len(network.biases[0]), len(network.biases)
    macs = sum(weight.size for weight in network.weights)
    description = {
        "name": name, "scale": network.scale, "input": "luma", "output": "luma_hr", "channels": channels,
        "layers": layers, "macs_per_pixel": macs, "receptive_field": layers, "size_multiple": 1, "state_shapes": [],
        "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "int8": quantised,
        "degradation": "none", "description": "random weights", "trained_on": [], "training": {}, "metrics": {},
        "license": "Apache-2.0",
    }  # fmt: skip
    (folder / f"{stem}.json").write_text(json.dumps(description, indent=2))
    return path


def write_forms(folder: Path) -> Path:
    """A model "coded" whose forms for clean sources and for pictures are "clean" and "sharp", each of weights of its own."""
    for seed, name in enumerate(("coded", "clean", "sharp")):
        write_model(make_network(channels=4, layers=3, seed=seed), folder, name, int8=False)
    description = folder / "coded_x2.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"clean_form": "clean", "picture_form": "sharp"}))
    return folder


def activation_ranges(network: Network, seed: int = 2) -> list[float]:
    """The largest activation before each layer on noise, which sets the int8 scales."""
    luma = np.random.default_rng(seed).random((48, 48))
    x_CHW, ranges = luma[None], []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        ranges.append(float(x_CHW.max()))
        windows = sliding_window_view(np.pad(x_CHW, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
        x_CHW = np.maximum(np.einsum("chwyx,ocyx->ohw", windows, weight, optimize=True) + bias[:, None, None], 0)
    return ranges


def build_graph(network: Network, *, int8: bool = False) -> onnx.ModelProto:
    """The ONNX model; with `int8`, QuantizeLinear / DequantizeLinear around every convolution, not the residual."""
    nodes, constants = [], []
    ranges = activation_ranges(network) if int8 else []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    x = "luma"
    for index, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        kernel = f"weight{index}"
        if int8:
            step = constant(f"step{index}", np.float32(ranges[index] / 255))
            zero = constant(f"zero{index}", np.uint8(0))
            x = node("QuantizeLinear", [x, step, zero], f"q{index}")
            x = node("DequantizeLinear", [x, step, zero], f"dq{index}")
            steps = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
            codes = np.rint(weight / steps[:, None, None, None]).astype(np.int8)
            inputs = [constant(f"codes{index}", codes), constant(f"steps{index}", steps)]
            inputs.append(constant(f"zeros{index}", np.zeros(len(steps), np.int8)))
            kernel = node("DequantizeLinear", inputs, kernel, axis=0)
        else:
            constant(kernel, weight)
        x = node("Conv", [x, kernel, constant(f"bias{index}", bias)], f"conv{index}", pads=[1, 1, 1, 1])
        if index < len(network.weights) - 1:
            x = node("Relu", [x], f"relu{index}")
    x = node("Add", [x, "luma"], "residual")
    node("DepthToSpace", [x], "luma_hr", blocksize=network.scale, mode="CRD")
    graph = helper.make_graph(
        nodes,
        "luma",
        [helper.make_tensor_value_info("luma", TensorProto.FLOAT, ["N", 1, "H", "W"])],
        [helper.make_tensor_value_info("luma_hr", TensorProto.FLOAT, ["N", 1, "HR", "WR"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
