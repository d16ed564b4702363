"""Everything that ships, trained by one command, stage by stage: each goes on where it was stopped, and is exported when it is done."""

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from streamsr.models import load_spec
from trainer.condition_fit import fit, with_estimates
from trainer.data.footage import list_footage
from trainer.data.scene_pool import load_pool, make_pool
from trainer.devices import find_device
from trainer.export.export_stage import export_stage, file_stem, load_stage
from trainer.export.onnx_luma_chroma import weights_of_onnx
from trainer.losses.picture_loss import SIDE
from trainer.metric.experiment import metric_named
from trainer.stage_loop import train
from trainer.stages import STAGES, Stage, stage_named, steadied, with_attention
from trainer.trainer_error import TrainerError

ESTIMATOR = "condition.npz"


@dataclass(frozen=True)
class ShipOptions:
    """How to run, as opposed to what to train."""

    footage: pathlib.Path  # folder of photographs and videos
    runs: pathlib.Path  # a run folder a stage
    scenes: pathlib.Path  # prepared scenes, a folder a scale
    out: pathlib.Path  # where the models go
    rounds: int = 2  # scenes of each photograph
    threads: int = 1
    device: str = "cpu"  # see trainer.devices
    extend: float = 1.0  # factor on the steps of every stage
    metric: str = "shipped"  # see trainer.metric.experiment.metric_named
    pban_weight: float = 0.0  # of 1 - its score in the loss of natural stages
    adversarial_weight: float = 0.0  # of a critic that learns beside them in the loss of natural stages
    steadiness: float = 0.0  # weight of changes from frame to frame in every stage; 0: as the stage has it
    seed_from: pathlib.Path | None = None  # exported models that a stage without a run starts from, where it holds one
    attention: bool = False  # of the stages with a state: with attention to it
    facts: tuple[tuple[str, Any], ...] = ()  # further entries of the descriptions, such as what they were trained on


def ship(names: Sequence[str], options: ShipOptions) -> None:
    """Train and export the stages of these names, or all; Ctrl-C saves."""
    torch.set_num_threads(options.threads)
    device = find_device(options.device)
    for name in names or STAGES:
        stage = stage_named(name)
        stage = replace(stage, steps=round(stage.steps * options.extend))
        if options.attention:
            stage = with_attention(stage)
        if options.pban_weight and stage.look == "natural":
            stage = replace(stage, pban_weight=options.pban_weight, crop=max(stage.crop, -(-SIDE // stage.scale)))
        if stage.look == "natural":
            stage = replace(stage, adversarial_weight=options.adversarial_weight)
        if options.steadiness:
            stage = steadied(stage, options.steadiness)
        has_runs = stage.frames > 1
        scenes = options.scenes / f"x{stage.scale}{'_runs' if has_runs else ''}"
        make_pool(list_footage(options.footage), scenes, scale=stage.scale, rounds=options.rounds, runs=has_runs)
        training, validation = load_pool(scenes)
        estimator = options.out / ESTIMATOR
        if not estimator.is_file():
            print(f"{ESTIMATOR}: errors {fit(training, validation, estimator)}", flush=True)
        training = with_estimates(training, estimator)
        weights = None if (options.runs / stage.name / "last.ckpt").is_file() else _first_weights(stage, options)
        score = metric_named(options.metric).to(device) if stage.pban_weight else None
        train(stage, training, validation, options.runs / stage.name, seed_weights=weights, device=device, score=score)
        export(stage, options)


def _first_weights(stage: Stage, options: ShipOptions) -> dict[str, torch.Tensor] | None:
    """Of its own earlier export; else, of a stage that another seeds, those of that one's run or export; None: it starts from chance.

    Raises TrainerError where a stage that needs another finds none. The int8 file needs the run: both are exported together.
    """
    own, seed = _exported(stage, options), stage_named(stage.seed_from) if stage.seed_from else None
    if not stage.quantised and own:
        return _weights_of(stage, own)
    if seed is None:
        return None
    if (options.runs / seed.name / "last.ckpt").is_file():
        return load_stage(options.runs / seed.name)[1].state_dict()
    other = _exported(seed, options)
    if stage.quantised or not other:
        raise TrainerError(f"{stage.name} starts from {seed.name}, which has no run in {str(options.runs)!r}. Train it first.")
    return _weights_of(stage, other)


def _exported(stage: Stage, options: ShipOptions) -> pathlib.Path | None:
    """Its model among earlier exports, where that is one of luma and chroma."""
    file = None if options.seed_from is None else options.seed_from / f"{file_stem(stage)}.onnx"
    return file if file and file.is_file() and load_spec(file.with_suffix(".json")).has_chroma else None


def _weights_of(stage: Stage, file: pathlib.Path) -> dict[str, torch.Tensor]:
    print(f"{stage.name}: starts from {file}", flush=True)
    return weights_of_onnx(file)


def export(stage: Stage, options: ShipOptions) -> None:
    """The files of the model that a stage belongs to, with int8 where its quantised stage has been trained."""
    whole = stage.seed_from if stage.quantised else stage.name
    small = next((name for name, other in STAGES.items() if other.quantised and other.seed_from == whole), None)
    small_run = options.runs / small if small else None
    has_small = small_run is not None and (small_run / "last.ckpt").is_file()
    card = export_stage(options.runs / whole, small_run if has_small else None, options.out, dict(options.facts))
    print(f"exported {card['file']}, {card['training']['steps']} steps" + (", with int8" if has_small else ""), flush=True)
