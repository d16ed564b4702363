"""A run -> <name>_x<scale>.onnx, <name>_x<scale>_int8.onnx and <name>_x<scale>.json, each checked against the network that was trained."""

import hashlib
import json
import pathlib
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray

from streamsr.engines.onnxruntime_engine import exact_options
from trainer.checkpoint import ema_network, load_checkpoint, recipe_of
from trainer.evaluation.evaluate import evaluate, summary
from trainer.export.onnx_int8 import onnx_int8_of
from trainer.export.onnx_lite import onnx_of
from trainer.export.quantise import quantised
from trainer.nets import Lite, QuantisedLite
from trainer.trainer_error import TrainerError

FLOAT_TOLERANCE = 1e-5  # of the [0, 1] range: summation order of float32 convolutions
INT8_TOLERANCE = 0.5  # codes of 255, mean absolute difference to float32: below what rounding to 8 bits costs
INT8_LOSS = 0.1  # dB of PSNR-Y that an int8 file may cost
UNCOMPRESSED = ("clean", "picture")  # degradations of sources where what int8 costs is seen: files get bf16
QUANTISED_TOLERANCE = 0.02  # codes of 255, mean absolute difference to the quantised network in torch: sums that round the other way


@dataclass(frozen=True)
class ExportOptions:
    """What goes beside the weights."""

    name: str | None = None  # default: the recipe's
    trained_on: str = "photographs of the trainer's user"  # data sets and licences
    hardware: str = "CPU"  # what it was trained on
    seeded_from: str | None = None  # earlier runs that the weights passed through
    evaluate_on: tuple[pathlib.Path, ...] = ()  # folders whose scores go into `metrics`
    metrics: pathlib.Path | None = None  # JSON file of further metrics, merged in
    quantised_run: pathlib.Path | None = None  # run of the same network with --quantised, which becomes the int8 file
    clean_form: str | None = None  # name of the model that takes its place for clean sources
    picture_form: str | None = None  # the same for single pictures
    overwrite: bool = False  # replace files of an earlier export


def export(
    run: pathlib.Path, out: pathlib.Path, calibration: list[NDArray[np.float32]] | None, options: ExportOptions
) -> dict[str, Any]:
    """Write the model files and return the JSON's contents. Without calibration crops there is no int8 file.

    The files take their names in `out`, over those of an earlier export, when all of them are made and checked.
    """
    recipe = recipe_of(load_checkpoint(run))
    description = out / f"{options.name or recipe.model}_x{recipe.scale}.json"
    if description.exists() and not options.overwrite:
        raise TrainerError(f"{str(description)!r} is there already. Give another --out or --name; --overwrite replaces the model.")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as folder:
        card = _write(run, pathlib.Path(folder), calibration, options)
        for path in sorted(pathlib.Path(folder).iterdir(), key=lambda path: path.suffix, reverse=True):  # the description last
            path.replace(out / path.name)
    if card["int8"] is None:  # one of an earlier export is of other weights
        (out / card["file"].replace(".onnx", "_int8.onnx")).unlink(missing_ok=True)
    return card


def _write(
    run: pathlib.Path, out: pathlib.Path, calibration: list[NDArray[np.float32]] | None, options: ExportOptions
) -> dict[str, Any]:
    state = load_checkpoint(run)
    recipe, net = recipe_of(state), ema_network(state)
    name = f"{options.name or recipe.model}_x{recipe.scale}"
    card: dict[str, Any] = {
        "name": options.name or recipe.model,
        "scale": recipe.scale,
        "input": "luma",
        "output": "luma_hr",
        "channels": recipe.channels,
        "layers": recipe.layers,
        "macs_per_pixel": net.macs_per_pixel,
        "receptive_field": net.receptive_radius,
        "size_multiple": 1,
        "padding": "zeros, in every convolution",
        "degradation": recipe.degradation,
        "flavour": recipe.flavour,
        "description": recipe.description,
        "license": "Apache-2.0",
    } | {key: form for key in ("clean_form", "picture_form") if (form := getattr(options, key))}
    props = {key: value if isinstance(value, str) else json.dumps(value) for key, value in card.items()}
    model = onnx_of(net, props)
    file = out / f"{name}.onnx"
    onnx.save(model, file)
    errors = float_errors(net, file)
    for engine, error in errors.items():
        print(f"{file.name}: max abs difference of {engine} to torch {error:.2e} (tolerance {FLOAT_TOLERANCE:.0e})")
        if error > FLOAT_TOLERANCE:
            raise TrainerError(f"{file.name!r} in {engine} is {error:.2e} off the trained network, more than {FLOAT_TOLERANCE:.0e}.")
    card |= {"file": file.name, "sha256": sha256_of(file), "int8": None}

    small = out / f"{name}_int8.onnx"
    if options.quantised_run is not None:
        card["int8"] = {"training": write_quantised(options.quantised_run, net, small, props)}
    elif calibration:
        onnx.save(quantised(model, calibration), small)
        codes = int8_error(file, small, calibration)
        told = ", ".join(f"{key} {value:.2f}" for key, value in codes.items())
        print(f"{small.name}: difference to float32 in codes of 255: {told} (tolerance of the mean {INT8_TOLERANCE})")
        if codes["mean"] > INT8_TOLERANCE:
            raise TrainerError(f"{small.name!r} differs from float32 by {codes['mean']:.2f} codes on average, more than {INT8_TOLERANCE}.")
        card["int8"] = {}
    if card["int8"] is not None:
        live_only = {"live_only": True} if recipe.degradation in UNCOMPRESSED else {}
        card["int8"] = {"file": small.name, "sha256": sha256_of(small)} | live_only | card["int8"]

    metrics: dict[str, Any] = {"validation": state["metrics"], "onnx_max_abs_error": max(errors.values())}
    for folder in options.evaluate_on:
        for label, path in (("float32", file), ("int8", small)):
            if label == "float32" or card["int8"]:
                scores = evaluate(path, folder)
                metrics[f"{folder.name}_{label}"] = {k: round(v, 4) for k, v in summary(scores).items()}
                print(f"{folder.name} {label}: {metrics[f'{folder.name}_{label}']}")
        if card["int8"]:
            lost = metrics[f"{folder.name}_float32"]["psnr_y"] - metrics[f"{folder.name}_int8"]["psnr_y"]
            if lost > INT8_LOSS:
                raise TrainerError(f"{small.name!r} loses {lost:.2f} dB on {folder.name}, more than {INT8_LOSS}: use --quantised.")
    if options.metrics is not None:
        metrics |= json.loads(options.metrics.read_text())
    card |= {
        "trained_on": options.trained_on,
        "training": training_facts(state) | {"hardware": options.hardware, "seeded_from": options.seeded_from},
        "metrics": metrics,
    }
    (out / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


def training_facts(state: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says about how it came to be. metric: fingerprint of the one in the loss."""
    recipe = recipe_of(state)
    facts = {"steps": state["step"], "batch": recipe.batch, "crop": recipe.crop, "lr": recipe.lr, "seconds": round(state["seconds"])}
    return facts | ({"pban_weight": recipe.pban_weight, "metric": state["metric"]} if recipe.pban_weight else {})


def write_quantised(run: pathlib.Path, net: Lite, file: pathlib.Path, props: dict[str, str]) -> dict[str, Any]:
    """The int8 file of a run with --quantised, checked against what was trained; returns its training facts.

    Raises TrainerError for a run of another network than `net`.
    """
    state = load_checkpoint(run)
    trained = ema_network(state)
    if not isinstance(trained, QuantisedLite) or trained.macs_per_pixel != net.macs_per_pixel:
        raise TrainerError(f"{str(run)!r} is no run with --quantised of a network like {type(net).__name__} at x{net.scale}.")
    onnx.save(onnx_int8_of(trained, props), file)
    literal = exact_options()  # integer kernels round sums in their own ways: up to 0.1 codes on average
    literal.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(file), literal, providers=["CPUExecutionProvider"])
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, 65, 97))).float() / 255
    with torch.no_grad():
        gap = np.abs(session.run(None, {"luma": x.numpy()})[0] - trained(x).numpy()) * 255
    told = f"mean {gap.mean():.4f}, max {gap.max():.2f} (tolerance of the mean {QUANTISED_TOLERANCE})"
    print(f"{file.name}: difference to torch in codes of 255: {told}")
    if gap.mean() > QUANTISED_TOLERANCE:
        raise TrainerError(f"{file.name!r} is {gap.mean():.3f} codes off the trained network, more than {QUANTISED_TOLERANCE}.")
    return training_facts(state)


def float_errors(net: Lite, file: pathlib.Path) -> dict[str, float]:
    """Largest absolute difference between the network in torch and the file, by runtime, over odd sizes and a batch.

    OpenVINO computes in float32 here, as the runtime's engine sets it up.
    """
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(file), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    rng = np.random.default_rng(0)
    worst: dict[str, float] = {}
    for shape in ((1, 1, 48, 64), (2, 1, 33, 47), (1, 1, 7, 5)):
        luma = rng.random(shape, np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(luma)).numpy()
        made = {"ONNX Runtime": session.run(None, {"luma": luma})[0], "OpenVINO": compiled({"luma": luma})["luma_hr"]}
        for runtime, luma_hr in made.items():
            worst[runtime] = max(worst.get(runtime, 0.0), float(np.abs(luma_hr - expected).max()))
    return worst


def int8_error(full: pathlib.Path, small: pathlib.Path, samples: list[NDArray[np.float32]]) -> dict[str, float]:
    """Absolute difference of the two files on `samples`, in codes of 255: mean, 99.9th percentile, maximum."""
    sessions = [onnxruntime.InferenceSession(str(f), exact_options(), providers=["CPUExecutionProvider"]) for f in (full, small)]
    gaps = [np.abs(sessions[0].run(None, {"luma": x})[0] - sessions[1].run(None, {"luma": x})[0]) * 255 for x in samples[:64]]
    gap = np.concatenate([g.ravel() for g in gaps])
    return {"mean": float(gap.mean()), "p99.9": float(np.percentile(gap, 99.9)), "max": float(gap.max())}


def sha256_of(file: pathlib.Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
