"""Small recurrent models with attention, of the trainer's network, with random weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def attentive_model(folder: Path) -> Path:
    """`attentive_network`, the path alone."""
    return attentive_network(folder)[0]


def attentive_network(folder: Path) -> tuple[Path, Any]:
    """Write attentive_x2.onnx, of luma alone with a state, and its JSON; returns the path and the network in torch, in float64.

    The network takes luma, chroma and condition; the file stands for it where all but luma is mid-grey.
    """
    net = _network(16, 2, radius=3)
    from trainer.export.onnx_luma_chroma import onnx_of
    from trainer.nets.luma_chroma import MIDDLE

    model = onnx_of(net)
    graph = model.graph
    alone = [node for node in graph.node if not {"chroma_tail.out", "chroma_hr"} & set(node.output)]
    for node in alone:
        if "told" in node.output:  # one plane of grey in place of two of the condition
            node.input[1] = "middle"
        if "planes" in node.output:
            node.input[1:] = ["told"] * 4
    read = {name for node in alone for name in node.input}
    constants = [value for value in graph.initializer if value.name in read]
    constants.append(numpy_helper.from_array(np.float32(MIDDLE), "middle"))
    ports = [[port for port in side if port.name not in ("chroma", "condition", "chroma_hr")] for side in (graph.input, graph.output)]
    graph.CopyFrom(helper.make_graph(alone, "luma_alone", *ports, constants))
    onnx.checker.check_model(model, full_check=True)
    return _written(model, net, folder / "attentive_x2.onnx"), net.double()


def remembering_model(folder: Path, *, layers: int = 4, radius: int = 3) -> tuple[Path, Any]:
    """Write remembering_x2.onnx, of luma and chroma with a state, and its JSON; returns the path and the network in torch, in float64."""
    net = _network(8, layers, radius=radius)
    from trainer.export.onnx_luma_chroma import onnx_of

    return _written(onnx_of(net), net, folder / "remembering_x2.onnx", chroma=True), net.double()


def _network(channels: int, layers: int, *, radius: int) -> Any:
    """A `RecurrentLumaChroma` whose state and attention show in its result. Skips the test without torch, which the trainer needs."""
    torch = pytest.importorskip("torch")

    from trainer.nets.recurrent_luma_chroma import RecurrentLumaChroma

    torch.manual_seed(0)
    net = RecurrentLumaChroma(2, channels, layers, radius=radius).eval()
    with torch.no_grad():
        net.join.weight.add_(torch.randn_like(net.join.weight) * 0.1)
        net.update.weight.mul_(3)
        net.tail.weight.add_(torch.randn_like(net.tail.weight) * 0.02)
    return net


def _written(model: onnx.ModelProto, net: Any, path: Path, **more: object) -> Path:
    """The file and its description beside it."""
    onnx.save(model, path)
    description = more | {
        "name": path.stem.rpartition("_")[0], "scale": net.scale, "input": "luma", "output": "luma_hr",
        "channels": net.channels, "layers": net.layers, "macs_per_pixel": net.macs_per_pixel, "receptive_field": net.receptive_radius,
        "state_shapes": net.state_shapes, "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "int8": None,
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(description))
    return path


def run_body(model: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The attention function of a model, by its body alone, in ONNX Runtime."""
    import onnxruntime

    (function,) = model.functions
    given = dict(zip(function.input, inputs, strict=True))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(array.shape)) for name, array in given.items()]
    ends = [helper.make_empty_tensor_value_info(name) for name in function.output]
    body = helper.make_model(helper.make_graph(function.node, "body", ports, ends), opset_imports=function.opset_import)
    body.ir_version = model.ir_version
    session = onnxruntime.InferenceSession(body.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, given)[0]
