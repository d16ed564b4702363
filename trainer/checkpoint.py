"""Checkpoints: everything that a step depends on, so that resuming continues the same run bit for bit."""

import copy
import dataclasses
import pathlib
import re
from typing import Any

import onnx
import onnx.numpy_helper
import torch

from streamsr.output_file import atomic_output
from trainer.nets import Lite, build_network
from trainer.recipes import Recipe
from trainer.trainer_error import TrainerError

FORMAT = 2


def save_checkpoint(
    path: pathlib.Path,
    *,
    recipe: Recipe,
    step: int,
    seconds: float,
    model: Lite,
    ema: Lite,
    optimiser: torch.optim.Optimizer,
    sampler_state: Any,
    metrics: dict[str, float],
    guard: dict[str, Any] | None = None,
    metric: str = "",
) -> None:
    """Write by rename: a killed run leaves the previous checkpoint whole. metric: which one is in the loss (Perception.fingerprint)."""
    state = {
        "format": FORMAT,
        "recipe": dataclasses.asdict(recipe),
        "step": step,
        "seconds": seconds,
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optimiser": optimiser.state_dict(),
        "crop_rng": copy.deepcopy(sampler_state),
        "torch_rng": torch.get_rng_state(),
        "metrics": metrics,
        "guard": guard,
        "metric": metric,
    }
    write_state(path, state)


def write_state(path: pathlib.Path, state: Any) -> None:
    """torch.save by rename; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_output(path) as draft:
        torch.save(state, draft)


def read_state(path: pathlib.Path, form: int, what: str) -> dict[str, Any]:
    """A dictionary with "format", on the CPU. what: words for whose it is. Raises TrainerError for any other file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own words go on for many lines, and advise to load the file without its safeguards
        raise TrainerError(f"{str(path)!r} is not a checkpoint of this trainer ({type(error).__name__}).") from error
    if not isinstance(state, dict) or state.get("format") != form:
        raise TrainerError(f"{str(path)!r} is not a checkpoint of format {form} of {what}.")
    return state


def find_checkpoint(path: pathlib.Path) -> pathlib.Path:
    """A run folder or a checkpoint file -> the file. Raises TrainerError when there is none."""
    file = path / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise TrainerError(f"No checkpoint at {str(file)!r}. Give a run folder (with last.ckpt in it) or a .ckpt file.")
    return file


def load_checkpoint(path: pathlib.Path) -> dict[str, Any]:
    """The dictionary that `save_checkpoint` wrote, on the CPU."""
    return read_state(find_checkpoint(path), FORMAT, "this trainer")


def recipe_of(state: dict[str, Any]) -> Recipe:
    """The recipe that a checkpoint was trained with."""
    try:
        return Recipe(**state["recipe"])
    except TypeError as error:
        raise TrainerError(f"The checkpoint's recipe does not fit this version of the trainer: {error}") from error


def ema_network(state: dict[str, Any]) -> Lite:
    """The averaged network of a checkpoint, in evaluation mode."""
    recipe = recipe_of(state)
    net = build_network(recipe)
    net.load_state_dict(state["ema"])
    return net.eval()


def seed_network(net: Lite, path: pathlib.Path) -> list[str]:
    """Copy the averaged weights of another run, or of an exported float32 network, into `net` where the shapes agree.

    Returns the names left as they were. A x2 network seeds a x3 or x4 one this way: all but the last convolution fit.
    """
    if path.suffix == ".onnx":
        weights, there = _exported(path), "exported"
    else:
        state = load_checkpoint(path)
        recipe = recipe_of(state)
        weights, there = state["ema"], f"recipe {recipe.name!r}, {recipe.channels} channels, {recipe.layers} layers"
    own = net.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    if not any(name.startswith("body") for name in fitting):
        raise TrainerError(
            f"{str(path)!r} ({there}) fits no layer of a "
            f"network of {net.channels} channels and {net.layers} layers. Give a checkpoint of the same width and depth."
        )
    net.load_state_dict(fitting, strict=False)
    return sorted(set(own) - set(fitting))


def _exported(path: pathlib.Path) -> dict[str, torch.Tensor]:
    """The weights of an exported float32 file by their names in the network. Raises TrainerError where it cannot be read."""
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # whatever protobuf says of a foreign file
        raise TrainerError(f"{str(path)!r} is not an exported network: {error}") from error
    values = {tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    return {re.sub(r"^body(\d+)", r"body.\1", name): value for name, value in values.items()}
