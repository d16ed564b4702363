"""A random-weight recurrent model whose memory is two frames long, and the plain loop that it is compared with.

    seen = luma, state_a (4 channels), state_b (1 channel at the scale of the output, space to depth)
    luma_hr     = depth to space (conv (relu (conv seen)) + luma)
    state_a_next = relu (conv): its first half of luma alone, its second half of the first half of state_a
    state_b_next = depth to space (conv luma)
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MEMORY = 2  # frames
RADIUS = 2  # input pixels


def write_recurrent(folder: Path, name: str = "tiny-recurrent", *, scale: int = 2, seed: int = 1) -> Path:
    """Write NAME_xS.onnx and its JSON to `folder`; returns the model's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_x{scale}.onnx"
    onnx.save(build_recurrent(scale, seed), path)
    description = {
        "name": name, "scale": scale, "input": "luma", "output": "luma_hr", "channels": 8, "layers": 2, "macs_per_pixel": 1000,
        "receptive_field": RADIUS, "state_shapes": [{"name": "state_a", "channels": 4}, {"name": "state_b", "channels": 1, "scale": scale}],
        "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "int8": None,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(description))
    return path


def build_recurrent(scale: int, seed: int) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    nodes, constants = [], []
    seen = 1 + 4 + scale**2

    def convolve(source: str, fan_in: int, fan_out: int, output: str, *, gain: float = 1.0, mask: np.ndarray | None = None) -> str:
        weight = (gain * rng.normal(0, np.sqrt(2 / (9 * fan_in)), (fan_out, fan_in, 3, 3))).astype(np.float32)
        if mask is not None:
            weight *= mask[:, :, None, None]
        constants.append(numpy_helper.from_array(weight, f"{output}.weight"))
        nodes.append(helper.make_node("Conv", [source, f"{output}.weight"], [output], pads=[1, 1, 1, 1]))
        return output

    nodes.append(helper.make_node("SpaceToDepth", ["state_b"], ["state_b.small"], blocksize=scale))
    nodes.append(helper.make_node("Concat", ["luma", "state_a", "state_b.small"], ["seen"], axis=1))
    nodes.append(helper.make_node("Relu", [convolve("seen", seen, 8, "features")], ["features.relu"]))
    nodes.append(helper.make_node("Add", [convolve("features.relu", 8, scale**2, "detail", gain=0.4), "luma"], ["phases"]))
    nodes.append(helper.make_node("DepthToSpace", ["phases"], ["luma_hr"], blocksize=scale, mode="CRD"))
    mask = np.zeros((4, seen), np.float32)
    mask[:2, 0] = mask[2:, 1:3] = 1
    nodes.append(helper.make_node("Relu", [convolve("seen", seen, 4, "state_a.conv", gain=2.0, mask=mask)], ["state_a_next"]))
    nodes.append(helper.make_node("DepthToSpace", [convolve("luma", 1, scale**2, "state_b.conv")], ["state_b_next"], blocksize=scale))

    def tensor(name: str, channels: int, height: str, width: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", channels, height, width])

    # the states come first and the luma last: an engine has to go by names
    inputs = [tensor("state_b", 1, "HR", "WR"), tensor("state_a", 4, "H", "W"), tensor("luma", 1, "H", "W")]
    outputs = [tensor("state_b_next", 1, "HR", "WR"), tensor("state_a_next", 4, "H", "W"), tensor("luma_hr", 1, "HR", "WR")]
    graph = helper.make_graph(nodes, "recurrent", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


class PlainLoop:
    """ONNX Runtime on the file as it is, float luma in and out, one frame after another."""

    def __init__(self, path: Path, scale: int = 2) -> None:
        import onnxruntime

        self.scale = scale
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.states: dict[str, np.ndarray] = {}

    def restart(self) -> None:
        self.states = {}

    def __call__(self, luma: np.ndarray) -> np.ndarray:
        """Codes (h, w) uint8 or uint16 -> (scale * h, scale * w), rounded half to even and clipped."""
        height, width = luma.shape
        top = np.float32(255 if luma.dtype == np.uint8 else 1023)
        if not self.states:
            self.states = {
                "state_a": np.zeros((1, 4, height, width), np.float32),
                "state_b": np.zeros((1, 1, height * self.scale, width * self.scale), np.float32),
            }
        given = {"luma": (luma.astype(np.float32) / top)[None, None]} | self.states
        luma_hr, first, second = self.session.run(["luma_hr", "state_a_next", "state_b_next"], given)
        self.states = {"state_a": first, "state_b": second}
        return np.clip(np.round(luma_hr[0, 0] * top), 0, top).astype(luma.dtype)
