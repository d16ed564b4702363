"""Small recurrent models with attention, as the trainer writes them, with random weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


def attentive_model(folder: Path, *, scale: int = 2, channels: int = 16, layers: int = 2, radius: int = 3, seed: int = 0) -> Path:
    """Write attentive_xS.onnx and its JSON; returns the model's path. Skips the test without torch, which the trainer needs."""
    torch = pytest.importorskip("torch")

    from trainer.export.onnx_base import onnx_of_base
    from trainer.nets import Base

    torch.manual_seed(seed)
    net = Base(scale, channels, layers, radius=radius)
    path = folder / f"attentive_x{scale}.onnx"
    return _written(onnx_of_base(net), net, path, channels=channels, layers=layers)


def remembering_model(
    folder: Path, *, scale: int = 2, channels: int = 8, layers: int = 4, radius: int = 3, seed: int = 0
) -> tuple[Path, Any]:
    """Write remembering_xS.onnx, of luma and chroma with a state, and its JSON; returns the path and the network in torch, in float64."""
    torch = pytest.importorskip("torch")

    from trainer.export.onnx_luma_chroma import onnx_of
    from trainer.nets.recurrent_luma_chroma import RecurrentLumaChroma

    torch.manual_seed(seed)
    net = RecurrentLumaChroma(scale, channels, layers, radius=radius).eval()
    with torch.no_grad():  # so that all of it is seen in the result
        net.join.weight.add_(torch.randn_like(net.join.weight) * 0.1)
        net.update.weight.mul_(3)
        net.tail.weight.add_(torch.randn_like(net.tail.weight) * 0.02)
    path = folder / f"remembering_x{scale}.onnx"
    return _written(onnx_of(net), net, path, channels=channels, layers=layers, chroma=True), net.double()


def _written(model: onnx.ModelProto, net: Any, path: Path, **more: object) -> Path:
    """The file and its description beside it."""
    onnx.save(model, path)
    description = more | {
        "name": path.stem.rpartition("_")[0], "scale": net.scale, "input": "luma", "output": "luma_hr",
        "macs_per_pixel": net.macs_per_pixel, "receptive_field": net.receptive_radius, "state_shapes": net.state_shapes,
        "file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "int8": None,
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
