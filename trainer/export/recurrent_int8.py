"""int8 for recurrent networks: post-training quantisation over runs of frames, with the state that the network has made by then.

The attention and what leads into it, the next state and the residual stay in float32 (EXACT_NODES), so a state is never rounded; what the
convolutions read of it is. NNCF knows no ONNX functions: the attention is taken out of the graph, its results become inputs that are
calibrated like the others, and afterwards it is put back in its place.
"""

import copy
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from streamsr.compare.measures import psnr
from trainer.data.photos import Plane
from trainer.evaluation.upscalers import open_network
from trainer.export.onnx_base import EXACT_NODES
from trainer.export.quantise import quantise_graph

INT8_LOSS = 0.1  # dB of PSNR-Y that an int8 file may cost
ENGINE_TOLERANCE = 0.05  # codes of 255, mean absolute difference between engines: roundings of int8 that fall the other way
FRAMES = 4  # of a run, spread evenly, that calibrate: the first has no state yet
RESULTS = ("by_frame", "by_state")  # of the attention


@dataclass(frozen=True)
class Run:
    """Frames of one scene, uint8 luma: sources (H, W) and targets (scale * H, scale * W)."""

    lr: list[Plane]
    hr: list[Plane]


def quantised_recurrent(model: onnx.ModelProto, runs: Sequence[Run]) -> onnx.ModelProto:
    """A copy of `model` (of trainer.export.onnx_base) in QDQ int8, calibrated on the sources of `runs`, all of one size."""
    taken = [node for node in model.graph.node if _belongs_to_attention(node)]
    results = [name for name in RESULTS if any(name in node.output for node in taken)]
    samples = calibration_samples(model, runs, results)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.functions[:]
    _replace(plain.graph.node, [node for node in plain.graph.node if not _belongs_to_attention(node)])
    _replace(plain.opset_import, [one for one in plain.opset_import if not one.domain])
    read = {name for node in taken for name in node.input}
    _replace(plain.graph.initializer, [one for one in model.graph.initializer if one.name not in read])
    for name in results:
        shape = ["n", samples[0][name].shape[1], "h", "w"]
        plain.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    names = {node.name for node in plain.graph.node}
    small = quantise_graph(plain, samples, [name for name in EXACT_NODES if name in names])
    return _restored(small, model, taken, results)


def calibration_samples(model: onnx.ModelProto, runs: Sequence[Run], results: Sequence[str]) -> list[dict[str, NDArray[np.float32]]]:
    """Inputs of the float32 network at FRAMES frames of each run, with the attention's results there. Codes 0 and 255 in the corners."""
    watched = copy.deepcopy(model)
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    channels = next(one.shape[1] for one in session.get_inputs() if one.name == "state_0")
    samples = []
    for run in runs:
        state = np.zeros((1, channels, *run.lr[0].shape), np.float32)
        chosen = set(np.linspace(0, len(run.lr) - 1, FRAMES).astype(int))
        for t, plane in enumerate(run.lr):
            luma = np.divide(plane, 255, dtype=np.float32)[None, None]
            luma[..., 0, 0], luma[..., -1, -1] = 0.0, 1.0
            given = {"luma": luma, "state_0": state}
            state, *seen = session.run(["state_0_next", *results], given)
            if t in chosen:
                samples.append(given | dict(zip(results, seen, strict=True)))
    return samples


def write_recurrent(
    model: onnx.ModelProto, full: pathlib.Path, small: pathlib.Path, calibration: Sequence[Run], checks: Sequence[Run]
) -> dict[str, float] | None:
    """Write the int8 file `small` of `model`, which lies in `full`, where it is good; returns what it costs. None, and no file, where not.

    Good: at most INT8_LOSS lost on the runs of `checks`, and OpenVINO and ONNX Runtime within ENGINE_TOLERANCE of each other.
    """
    onnx.save(quantised_recurrent(model, calibration), small)
    lost, gap = lost_to_int8(full, small, checks), engine_gap(small, checks[0])
    print(f"{small.name}: {lost:+.3f} dB lost to int8 (at most {INT8_LOSS}), engines {gap:.4f} codes apart (at most {ENGINE_TOLERANCE})")
    if lost <= INT8_LOSS and gap <= ENGINE_TOLERANCE:
        return {"psnr_y_lost_db": round(lost, 4), "engine_gap_codes": round(gap, 5)}
    small.unlink()
    print(f"{small.name}: not good enough, so there is no int8 file")
    return None


def lost_to_int8(full: pathlib.Path, small: pathlib.Path, runs: Sequence[Run]) -> float:
    """dB of PSNR-Y that the int8 file lies below the float32 file, mean over the frames of runs, each from its own states."""
    means = []
    for path in (full, small):
        upscale, _ = open_network(path)
        pairs = [pair for run in runs for pair in zip(upscale(run.lr), run.hr, strict=True)]
        means.append(float(np.mean([psnr(made.astype(np.float32), hr.astype(np.float32)) for made, hr in pairs])))
    return means[0] - means[1]


def engine_gap(path: pathlib.Path, run: Run) -> float:
    """Mean absolute difference, in codes of 255, between OpenVINO and ONNX Runtime over a run, each from its own states."""
    import openvino

    from streamsr.engines.openvino_attention import ATTENTION

    core = openvino.Core()
    core.add_extension(ATTENTION)
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    state = np.zeros((1, compiled.input("state_0").partial_shape[1].get_length(), *run.lr[0].shape), np.float32)
    gaps = []
    for plane, expected in zip(run.lr, open_network(path)[0](run.lr), strict=True):
        made = compiled({"luma": np.divide(plane, 255, dtype=np.float32)[None, None], "state_0": state})
        state = np.array(made["state_0_next"])
        gaps.append(np.abs(np.clip(np.rint(made["luma_hr"][0, 0] * 255), 0, 255) - expected).mean())
    return float(np.mean(gaps))


def _belongs_to_attention(node: onnx.NodeProto) -> bool:
    return node.name.startswith(("attention_", "split_")) or node.name in ("of_frame", "of_state")


def _restored(small: onnx.ModelProto, model: onnx.ModelProto, taken: list[onnx.NodeProto], results: Sequence[str]) -> onnx.ModelProto:
    """`small` with the attention of `model` back in it."""
    graph = small.graph
    read = {name for node in taken for name in node.input}
    graph.initializer.extend(one for one in model.graph.initializer if one.name in read)
    _replace(graph.input, [one for one in graph.input if one.name not in results])
    nodes = [*graph.node, *taken]
    known = {one.name for part in (graph.input, graph.initializer) for one in part} | {""}
    ordered: list[onnx.NodeProto] = []
    while nodes:  # ONNX wants a node behind those that it reads
        ready = [node for node in nodes if known.issuperset(node.input)]
        assert ready, [node.name for node in nodes]
        ordered += ready
        known |= {name for node in ready for name in node.output}
        nodes = [node for node in nodes if not known.issuperset(node.output)]
    _replace(graph.node, ordered)
    have = {one.domain for one in small.opset_import}
    small.opset_import.extend(one for one in model.opset_import if one.domain not in have)
    small.functions.extend(model.functions)
    _replace(small.metadata_props, list(model.metadata_props))
    small.ir_version = model.ir_version
    onnx.checker.check_model(small, full_check=True)
    return small


def _replace(field: object, items: Sequence[object]) -> None:
    """New contents of a repeated field."""
    kept = [copy.deepcopy(item) for item in items]
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]
