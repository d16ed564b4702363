"""The metric as a file that needs no torch: ONNX with half-precision weights, and its JSON description.

Inputs `sr` and `hr`, float32 (n, 3, h, w), RGB in [0, 1], sides of 96 or more; output `score`, float32 (n,). Weights are stored as float16
and cast back to float32 when the file is loaded, so half the bytes cost no speed and the arithmetic stays that of float32.
"""

import hashlib
import json
import pathlib
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from streamsr.output_file import atomic_output
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.pban_network import MIN_SIDE
from trainer.trainer_error import TrainerError

VERSION = 2  # raise it when the same pictures get other scores
OPSET = 17  # GridSample came with 16
MAX_MB = 30
TOLERANCE = 2e-3  # of the range (0, 1]: what half-precision weights may change
_SMALL = 64  # values: smaller constants stay as they are


def onnx_of_metric(metric: MetricEnsemble) -> onnx.ModelProto:
    """A checked model with float16 weights."""
    import io

    pictures = torch.rand(2, 1, 3, 160, 128, generator=torch.Generator().manual_seed(0)).unbind(0)
    data = io.BytesIO()
    free = {0: "n", 2: "h", 3: "w"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is called old; the new one fixes the sizes of GridSample's grids
        torch.onnx.export(
            metric.eval(), pictures, data, dynamo=False,  # type: ignore[arg-type]
            opset_version=OPSET, input_names=["sr", "hr"], output_names=["score"],
            dynamic_axes={"sr": free, "hr": free, "score": {0: "n"}},
        )  # fmt: skip
    model = onnx.load_from_string(data.getvalue())
    _halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def _halve_weights(model: onnx.ModelProto) -> None:
    """Store float32 initializers as float16 behind a Cast; equal ones once."""
    graph, casts, renamed = model.graph, [], {}
    kept: list[onnx.TensorProto] = []
    seen: dict[bytes, str] = {}
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < _SMALL:
            kept.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)
        key = values.tobytes() + str(values.shape).encode()
        if key in seen:
            renamed[tensor.name] = seen[key]
            continue
        seen[key] = tensor.name
        kept.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], name=f"{tensor.name}.cast", to=TensorProto.FLOAT))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = [*casts, *graph.node]
    for node in nodes:
        for i, name in enumerate(node.input):
            node.input[i] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend(nodes)


def score_error(metric: MetricEnsemble, model: bytes) -> float:
    """Largest difference between torch and ONNX Runtime over several sizes and strengths of noise."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    worst = 0.0
    for (height, width), noise in zip(((96, 96), (131, 97), (160, 224)), (0.0, 0.05, 0.3), strict=True):
        hr = rng.random((1, 3, height, width), np.float32)
        sr = np.clip(hr + rng.normal(0, noise, hr.shape), 0, 1).astype(np.float32)
        with torch.no_grad():
            expected = metric(torch.from_numpy(sr), torch.from_numpy(hr)).numpy()
        worst = max(worst, float(np.abs(session.run(["score"], {"sr": sr, "hr": hr})[0] - expected).max()))
    return worst


def ship(metric: MetricEnsemble, out: pathlib.Path, card: dict[str, Any]) -> dict[str, Any]:
    """Write efficient_pban.onnx and .json into `out`; card: what is known of the training. Raises TrainerError when the file is wrong."""
    model = onnx_of_metric(metric)
    props = {"name": "efficient_pban", "license": str(card.get("license", "")), "encoder": metric.encoder_name}
    helper.set_model_props(model, props)
    data = model.SerializeToString()
    if len(data) > MAX_MB * 10**6:
        raise TrainerError(f"The metric takes {len(data) / 1e6:.1f} MB; {MAX_MB} are the limit.")
    error = score_error(metric, data)
    print(f"efficient_pban.onnx: {len(data) / 1e6:.1f} MB, max difference to torch {error:.1e} (tolerance {TOLERANCE})")
    if error > TOLERANCE:
        raise TrainerError(f"The exported metric differs from torch by {error:.1e}, more than {TOLERANCE}.")
    out.mkdir(parents=True, exist_ok=True)
    description = {
        "name": "efficient_pban", "version": VERSION,
        "file": "efficient_pban.onnx", "sha256": hashlib.sha256(data).hexdigest(), "min_side": MIN_SIDE,
        "range": "(0, 1], 1 for equal pictures", "direction": "higher is better", "inputs": "sr, hr: RGB (n, 3, h, w) in [0, 1]",
        "onnx_max_abs_error": round(error, 6),
    } | card  # fmt: skip
    for name, content in (("efficient_pban.onnx", data), ("efficient_pban.json", (json.dumps(description, indent=2) + "\n").encode())):
        with atomic_output(out / name) as draft:
            draft.write_bytes(content)
    return description
