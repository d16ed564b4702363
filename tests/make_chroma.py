"""A small random model of luma and chroma, and the same network in float64 with NumPy alone, which engines are compared with.

    head: 3x3, luma, chroma and condition around mid-grey -> 8 channels, ReLU; tail: 3x3 -> phases, and another -> 2; the input is added,
    luma interpolated where there are weights for that
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

CHANNELS, MIDDLE, RADIUS = 8, 128 / 255, 2


def make_weights(scale: int, seed: int = 3, *, interpolates: bool = True) -> dict[str, np.ndarray]:
    """head (8, 5, 3, 3), tail (scale * scale, 8, 3, 3), chroma (2, 8, 3, 3) and their biases, float32.

    interpolates: also interpolation (scale * scale, 1, 3, 3).
    """
    rng = np.random.default_rng(seed)
    shapes = {"head": (CHANNELS, 5), "tail": (scale * scale, CHANNELS), "chroma_tail": (2, CHANNELS)}
    weights = {}
    for name, shape in shapes.items():
        weights[name] = rng.normal(0, 0.15, (*shape, 3, 3)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.02, shape[0]).astype(np.float32)
    if interpolates:  # of eighths, which every type holds; each phase by weights of its own
        taps = np.array([[row % 3, 8 - row % 3 - row % 2, row % 2] for row in range(scale)], np.float32) / 8
        weights["interpolation"] = np.einsum("ak,bl->abkl", taps, taps).reshape(scale * scale, 1, 3, 3)
    return weights


def reference(
    weights: dict[str, np.ndarray], luma: np.ndarray, chroma: np.ndarray, condition: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """luma (h, w), chroma (2, h, w) in [0, 1] -> (s * h, s * w) and (2, h, w) float64, unclipped."""
    told = [np.full(luma.shape, value) for value in condition]
    planes = np.stack([luma, *chroma, *told]).astype(np.float64) - MIDDLE
    features = np.maximum(_convolved(planes, weights, "head"), 0)
    phases, (h, w) = _convolved(features, weights, "tail"), luma.shape
    if "interpolation" in weights:
        windows = sliding_window_view(np.pad(luma.astype(np.float64), 1, mode="edge"), (3, 3))
        phases = phases + np.einsum("hwyx,oyx->ohw", windows, weights["interpolation"][:, 0].astype(np.float64))
    else:
        phases = phases + luma
    s = round(len(phases) ** 0.5)
    return phases.reshape(s, s, h, w).transpose(2, 0, 3, 1).reshape(s * h, s * w), _convolved(features, weights, "chroma_tail") + chroma


def _convolved(x_CHW: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    windows = sliding_window_view(np.pad(x_CHW, ((0, 0), (1, 1), (1, 1))), (3, 3), axis=(1, 2))
    made = np.einsum("chwyx,ocyx->ohw", windows, weights[name].astype(np.float64), optimize=True)
    return np.asarray(made + weights[f"{name}.bias"][:, None, None])


def write_chroma_model(weights: dict[str, np.ndarray], folder: Path, name: str = "colour", *, look: str = "natural") -> Path:
    """NAME_xS.onnx and its description in `folder`; returns the path of the ONNX file."""
    scale = round(len(weights["tail"]) ** 0.5)
    stored = [numpy_helper.from_array(value, f"{key}.w" if "." not in key else key) for key, value in weights.items()]
    stored += [numpy_helper.from_array(np.float32(-MIDDLE), "middle"), numpy_helper.from_array(np.float32(0), "nothing")]

    def convolve(name: str, given: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [given, f"{name}.w", f"{name}.bias"], [f"{name}.out"], pads=[1] * 4)

    large = "luma"
    before = []
    if "interpolation" in weights:
        stored.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "margins"))
        before = [
            helper.make_node("Pad", ["luma", "margins"], ["padded"], mode="edge"),
            helper.make_node("Conv", ["padded", "interpolation.w"], ["large"]),
        ]
        large = "large"
    nodes = [
        *before,
        helper.make_node("Mul", ["luma", "nothing"], ["blank"]),
        helper.make_node("Add", ["blank", "condition"], ["told"]),
        helper.make_node("Concat", ["luma", "chroma", "told"], ["planes"], axis=1),
        helper.make_node("Add", ["planes", "middle"], ["centred"]),
        convolve("head", "centred"),
        helper.make_node("Relu", ["head.out"], ["features"]),
        convolve("tail", "features"),
        helper.make_node("Add", ["tail.out", large], ["phases"]),
        helper.make_node("DepthToSpace", ["phases"], ["luma_hr"], blocksize=scale, mode="CRD"),
        convolve("chroma_tail", "features"),
        helper.make_node("Add", ["chroma_tail.out", "chroma"], ["chroma_hr"]),
    ]

    def tensor(name: str, *sides: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(sides))

    given = [tensor("luma", "n", 1, "h", "w"), tensor("chroma", "n", 2, "h", "w"), tensor("condition", 1, 2, 1, 1)]
    made = [tensor("luma_hr", "n", 1, "H", "W"), tensor("chroma_hr", "n", 2, "h", "w")]
    model = helper.make_model(helper.make_graph(nodes, name, given, made, stored), opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    file = folder / f"{name}_x{scale}.onnx"
    onnx.save(model, file)
    card = {
        "name": name, "scale": scale, "file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "int8": None,
        "input": "luma", "output": "luma_hr", "chroma": True, "look": look, "channels": CHANNELS, "layers": 1, "macs_per_pixel": 1000,
        "receptive_field": RADIUS,
    }  # fmt: skip
    file.with_suffix(".json").write_text(json.dumps(card))
    return file
