"""The metric that ships as torch again: a loss, and something to go on from, without the run that it came out of.

The exporter keeps most names; what it folded (transposed weights, batch norm inside a convolution, a softmax) is found by the node that
reads it. The encoder was frozen, so its weights are those of its package. Whether all of it fits is checked against ONNX Runtime.
"""

import pathlib
import re
from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from streamsr.compare.pban import METRIC, read_card
from trainer.metric.encoder import EncoderName, open_encoder
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.learned_metric import Metric
from trainer.metric.metric_export import TOLERANCE, score_error
from trainer.metric.pban_network import EfficientPban
from trainer.trainer_error import TrainerError

OLD_ENCODER: EncoderName = "efficientnet_lite0"  # of files that do not name theirs
_JUROR = re.compile(r"jurors\.(\d+)\.network\.judge\.bias")
# where a folded tensor is read: the name in a stream, and how to unfold it; the number behind counts the streams of all jurors
_FOLDED: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    r"/deform/parts\.(\d)(?:_(\d+))?/Reshape": ("deform.parts.{}.weight", lambda w_KKOC: w_KKOC.transpose(2, 3, 0, 1)),
    r"/deform/parts\.(\d)(?:_(\d+))?/Add_6": ("deform.parts.{}.bias", np.ravel),
    r"/excite/channel/(mix)(?:_(\d+))?/MatMul": ("excite.channel.{}.weight", np.transpose),
    r"/head/(head)\.0(?:_(\d+))?/MatMul": ("{}.0.weight", np.transpose),
    r"/merge/(merge)\.0(?:_(\d+))?/Conv": ("{}.0.weight", np.asarray),
}


def shipped_file() -> pathlib.Path:
    """The ONNX file that is part of streamsr."""
    return METRIC.parent / str(read_card()["file"])


def open_shipped(file: pathlib.Path) -> MetricEnsemble:
    """The metric of an ONNX file of `metric_export`, ready to score and to be a loss. Raises TrainerError for any other file."""
    try:
        data = file.read_bytes()
        model = onnx.load_from_string(data)
        jury = _rebuilt(model)
        gap = score_error(jury, data)
    except Exception as error:  # whatever protobuf, numpy, torch or ONNX Runtime say of a foreign file
        raise TrainerError(f"{str(file)!r} is not the shipped form of a metric: {error}") from error
    if gap > TOLERANCE:
        raise TrainerError(f"{str(file)!r} cannot be read back: torch is {gap:.1e} off the file, more than {TOLERANCE}.")
    return jury


def _rebuilt(model: onnx.ModelProto) -> MetricEnsemble:
    values = {tensor.name.removesuffix(".half"): numpy_helper.to_array(tensor).astype(np.float32) for tensor in model.graph.initializer}
    num_jurors = 1 + max(int(found[1]) for found in map(_JUROR.fullmatch, values) if found)
    nodes = {node.name: [values[name] for name in node.input if name in values] for node in model.graph.node}
    encoder = next((entry.value for entry in model.metadata_props if entry.key == "encoder"), OLD_ENCODER)
    networks = [EfficientPban(encoder=encoder, encoder_weights="random") for _ in range(num_jurors)]  # type: ignore[arg-type]
    networks[0].encoder = open_encoder(encoder)  # type: ignore[arg-type]  # a jury has one
    # the denominators of `structure_terms`, in the order of the stages
    units = [node for node in model.graph.node if node.op_type == "Div" and node.input[1] in values and values[node.input[1]].ndim == 4]
    variances = [torch.from_numpy(values[node.input[1]].ravel()) for node in units[: len(networks[0].encoder.channels)]]
    jury = MetricEnsemble([Metric(network, variances, reach=_reach(model)) for network in networks])
    state = {name: torch.from_numpy(value) for name, value in values.items()} | _folded(nodes)
    size = len(jury.first.weights)
    (softmax,) = (read[0] for name, read in nodes.items() if name.startswith("/Mul") and read and read[0].shape == (size,))
    state["jurors.0.weights"] = torch.from_numpy(np.log(softmax))
    own = jury.state_dict()
    # what a jury reads of its other jurors is their network alone; batch norm went into the convolution before it
    unread = re.compile(r"jurors\.\d+\.network\.(encoder\.|streams\.\d\.merge\.1\.)|jurors\.[1-9]\d*\.(?!network)|jurors\.0\.variance")
    missing = [name for name in own if name not in state and not unread.match(name)]
    if missing:
        raise ValueError(f"{len(missing)} of its tensors are missing, {missing[0]} first")
    jury.load_state_dict({name: state.get(name, value) for name, value in own.items()})
    return jury.eval().requires_grad_(False)


def _reach(model: onnx.ModelProto) -> float:
    """The factor of the mean opinion: the last constant that is read."""
    made = {name: node for node in model.graph.node for name in node.output}
    exponent = made[made[made[made["score"].input[0]].input[0]].input[1]]  # exp(-(distance exp(exponent)))
    constant = made[made[exponent.output[0]].input[0]]
    factor = next(made[name] for name in constant.input if made[name].op_type == "Constant")
    return -float(numpy_helper.to_array(factor.attribute[0].t))


def _folded(nodes: dict[str, list[np.ndarray]]) -> dict[str, Tensor]:
    state = {}
    for node, read in nodes.items():
        for pattern, (place, unfold) in _FOLDED.items():
            found = re.fullmatch(pattern, node)
            if not found:
                continue
            juror, stream = divmod(int(found[2] or 0), 2)
            prefix = f"jurors.{juror}.network.streams.{stream}."
            state[prefix + place.format(found[1])] = torch.from_numpy(np.ascontiguousarray(unfold(read[0])))
            if found[1] == "merge":
                state[f"{prefix}merge.1.bias"] = torch.from_numpy(read[1])
    return state
