"""A trained stage -> NAME_xSCALE.onnx, NAME_xSCALE_int8.onnx and NAME_xSCALE.json, each checked against the network that was trained."""

import json
import pathlib
import tempfile
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from streamsr.engines.onnxruntime_engine import exact_options
from streamsr.engines.openvino_attention import ATTENTION
from trainer.checkpoint import read_state
from trainer.export.export_run import sha256_of
from trainer.export.onnx_luma_chroma import onnx_of
from trainer.nets.luma_chroma import LumaChroma, split
from trainer.nets.recurrent_luma_chroma import RecurrentLumaChroma
from trainer.stage_loop import FORMAT, build
from trainer.stages import Stage
from trainer.trainer_error import TrainerError

FLOAT_TOLERANCE = 2e-5  # of the [0, 1] range: summation order of float32 convolutions
INT8_TOLERANCE = 0.02  # codes of 255, mean absolute difference to the quantised network in torch: sums that round the other way
CONDITION = (0.3, 0.4)
SIZES = ((48, 64, 1), (33, 47, 1), (7, 5, 32))  # rows, columns and number of pictures: a single sum may decide on the mean of few pixels
DEGRADATION = (
    "video as it is found: out of focus, noisy, resampled, compressed once or twice by x264, x265, MPEG-2, MPEG-4, VP9 or AV1, and clean"
)
DESCRIPTIONS = {  # what `streamsr models` says: which network, and what it does
    "lite": ("Smallest network, luma and chroma", "runs in real time on a CPU"),
    "base": ("Middle network, luma and chroma", "sharper than lite, at a sixth of its rate"),
    "max": ("Largest network, luma and chroma", "carries what it saw from frame to frame, for GPUs"),
}
FORMS = {  # by the stem of its files: what takes its place for sources known to be clean, and for single pictures
    "lite_x2": {"clean_form": "lite-clean", "picture_form": "lite-picture"},
    "lite-faithful_x2": {"clean_form": "lite-clean", "picture_form": "lite-picture"},
    "base_x2": {"clean_form": "lite-clean"},  # 0.4 dB of luma better there, the faithful look 0.3 dB
    "base-faithful_x2": {"clean_form": "lite-clean", "picture_form": "lite-picture"},  # +2.52 dB on Set14 for +2.02 dB
}


def file_stem(stage: Stage) -> str:
    """What the files of a stage's model are called, without an ending."""
    return f"{stage.model}{'' if stage.look == 'natural' else f'-{stage.look}'}_x{stage.scale}"


def load_stage(run: pathlib.Path) -> tuple[Stage, LumaChroma, dict[str, Any]]:
    """The stage of a run folder, its averaged network, and its checkpoint. Raises TrainerError where there is none."""
    state = read_state(run / "last.ckpt", FORMAT, "this trainer")
    stage = Stage(**state["stage"])
    net = build(stage)
    net.load_state_dict(state["average"])
    return stage, net.eval(), state


def export_stage(run: pathlib.Path, int8_run: pathlib.Path | None, out: pathlib.Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Write the model's files into `out`, over those of an earlier export, when all are made and checked; returns the description.

    int8_run: of the quantised stage of the same network; None: no int8 file. facts: further entries of the description.
    """
    stage, net, state = load_stage(run)
    name = file_stem(stage)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as temporary:
        folder = pathlib.Path(temporary)
        file = folder / f"{name}.onnx"
        error = _write(net, file, FLOAT_TOLERANCE)
        card: dict[str, Any] = {
            "name": stage.model, "look": stage.look, "scale": stage.scale, "file": file.name, "sha256": sha256_of(file), "int8": None,
            "input": "luma", "output": "luma_hr", "chroma": True, "chroma_filter": stage.chroma_filter, "channels": stage.channels,
            "layers": stage.layers, "macs_per_pixel": net.macs_per_pixel, "receptive_field": net.receptive_radius, "size_multiple": 1,
            "padding": "mid-grey, in every convolution", "license": "Apache-2.0", "training": _training(stage, state),
            "onnx_max_abs_error": error, "degradation": DEGRADATION, **FORMS.get(name, {}),
        }  # fmt: skip
        if stage.model in DESCRIPTIONS:
            which, does = DESCRIPTIONS[stage.model]
            exact = ", as close to the original as it can be" if stage.look == "faithful" else ""
            card["description"] = f"{which}{exact}: {does}."
        if isinstance(net, RecurrentLumaChroma):
            card["state_shapes"] = net.state_shapes
        if int8_run is not None:
            small_stage, small, small_state = load_stage(int8_run)
            if (small_stage.scale, small.macs_per_pixel) != (stage.scale, net.macs_per_pixel) or not small_stage.quantised:
                raise TrainerError(f"{str(int8_run)!r} is no quantised run of the network in {str(run)!r}.")
            small_file = folder / f"{name}_int8.onnx"
            _write(small, small_file, INT8_TOLERANCE / 255)
            card["int8"] = {"file": small_file.name, "sha256": sha256_of(small_file), "training": _training(small_stage, small_state)}
        (folder / f"{name}.json").write_text(json.dumps(card | facts, indent=2) + "\n")
        for path in sorted(folder.iterdir(), key=lambda path: path.suffix, reverse=True):  # the description last
            path.replace(out / path.name)
    if int8_run is None:
        (out / f"{name}_int8.onnx").unlink(missing_ok=True)  # one of an earlier export is of other weights
    return card | facts


def _training(stage: Stage, state: dict[str, Any]) -> dict[str, Any]:
    return {"stage": stage.name, "steps": state["step"], "seconds": round(state["seconds"]), "batch": stage.batch, "crop": stage.crop}


def _write(net: LumaChroma, file: pathlib.Path, tolerance: float) -> float:
    """Write the graph and compare it with the network in torch; returns the difference: mean for int8, largest for float32."""
    onnx.save(onnx_of(net), file)
    rng = np.random.default_rng(0)
    worst = 0.0
    quantised = hasattr(net, "log_step")
    literal = exact_options()
    if quantised:  # its integer kernels round sums in their own ways
        literal.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(file), literal, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    core.add_extension(ATTENTION)
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = ["luma_hr", "chroma_hr", *(["state_0_next"] if isinstance(net, RecurrentLumaChroma) else [])]
    for height, width, num in SIZES:
        gaps = []
        for _ in range(num):
            given, expected = _example(net, rng, height, width)
            by_openvino = compiled(given)
            results = session.run(names, given), [by_openvino[name] for name in names]
            gaps.append([np.abs(got - wanted) for result in results for got, wanted in zip(result, expected, strict=True)])
        for part in map(np.stack, zip(*gaps, strict=True)):
            worst = max(worst, float(part.mean() if quantised else part.max()))
    if not worst <= tolerance:
        raise TrainerError(f"{file.name!r} is {worst:.2e} off the trained network, more than {tolerance:.0e}.")
    return worst


def _example(net: LumaChroma, rng: np.random.Generator, height: int, width: int) -> tuple[dict[str, NDArray], list[NDArray]]:
    """Inputs of the graph by their names, and what the network makes of them; one with a state is in the middle of a stream."""
    planes = torch.from_numpy(rng.integers(0, 256, (1, 5, height, width)).astype(np.float32) / 255)
    for index, value in enumerate(CONDITION):
        planes[:, 3 + index] = round(value * 255) / 255
    given = {"luma": planes[:, :1].numpy(), "chroma": planes[:, 1:3].numpy(), "condition": planes[:, 3:, :1, :1].numpy()}
    state: tuple[torch.Tensor, ...] = ()
    if isinstance(net, RecurrentLumaChroma):
        state = (torch.from_numpy(rng.uniform(-1, 1, (1, net.channels, height, width)).astype(np.float32)),)
        given["state_0"] = state[0].numpy()
    with torch.no_grad():
        made, following = net(planes, state) if state else (net(planes), ())
    return given, [part.numpy() for part in (*split(made, net.scale), *following)]
