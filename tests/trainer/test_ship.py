"""`ship`: what a stage of runs starts from, which pairs it sees, and where it goes."""

import dataclasses
import pathlib

import pytest
import torch
from test_stage_loop import MAX, RUNS, SCENES, STAGE

from trainer import ship as ship_module
from trainer import stage_loop
from trainer.export.export_stage import export_stage, load_stage
from trainer.ship import ESTIMATOR, ShipOptions, ship
from trainer.stage_loop import train
from trainer.stages import REACH
from trainer.trainer_error import TrainerError

SEED = dataclasses.replace(STAGE, name="tinybase_x2", model="tinybase", channels=4, residual=True, steps=1)
STAGE_OF_RUNS = dataclasses.replace(MAX, seed_from=SEED.name, steps=1, lr=0.0)  # it stays what it started as


@pytest.fixture
def options(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ShipOptions:
    """With stages of tiny networks, and pools that are drawn."""
    stages = {stage.name: stage for stage in (SEED, STAGE_OF_RUNS)}

    def make_pool(footage: list[pathlib.Path], folder: pathlib.Path, *, runs: bool, **_: int) -> None:
        assert folder.name == ("x2_runs" if runs else "x2")

    monkeypatch.setattr(ship_module, "STAGES", stages)
    monkeypatch.setattr(ship_module, "stage_named", stages.__getitem__)
    monkeypatch.setattr(stage_loop, "CHECKED_SIDE_OF_RUNS", 16)
    monkeypatch.setattr(ship_module, "list_footage", lambda folder: [])
    monkeypatch.setattr(ship_module, "make_pool", make_pool)
    monkeypatch.setattr(ship_module, "load_pool", lambda folder: (RUNS, RUNS) if folder.name == "x2_runs" else (SCENES, SCENES))
    monkeypatch.setattr(ship_module, "with_estimates", lambda scenes, file: scenes)
    for name in ("out", "exported"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / ESTIMATOR).touch()
    return ShipOptions(tmp_path, tmp_path / "runs", tmp_path / "scenes", tmp_path / "out", seed_from=tmp_path / "exported")


@pytest.mark.parametrize("is_run", [True, False])
def test_a_network_of_runs_starts_from_the_narrower_one_trained_or_exported(options: ShipOptions, is_run: bool) -> None:
    net = train(SEED, SCENES, SCENES, options.runs / SEED.name)
    if not is_run:
        assert options.seed_from is not None
        export_stage(options.runs / SEED.name, None, options.seed_from, {})
        (options.runs / SEED.name / "last.ckpt").unlink()
    ship([STAGE_OF_RUNS.name], options)
    grown = load_stage(options.runs / STAGE_OF_RUNS.name)[1]
    torch.testing.assert_close(grown.head.weight[:4], net.head.weight, rtol=0, atol=1e-7)
    assert (options.out / "tinymax_x2.onnx").is_file()


def test_a_stage_goes_on_from_its_own_export_whatever_seeds_it(options: ShipOptions) -> None:
    assert options.seed_from is not None
    net = train(dataclasses.replace(STAGE_OF_RUNS, seed_from=""), RUNS, RUNS, options.runs / "earlier")
    export_stage(options.runs / "earlier", None, options.seed_from, {})
    train(SEED, SCENES, SCENES, options.runs / SEED.name)
    ship([STAGE_OF_RUNS.name], options)
    grown = load_stage(options.runs / STAGE_OF_RUNS.name)[1]
    torch.testing.assert_close(grown.state_dict(), net.state_dict(), rtol=0, atol=1e-6)


def test_with_attention_it_goes_into_a_run_of_its_own(options: ShipOptions) -> None:
    train(SEED, SCENES, SCENES, options.runs / SEED.name)
    ship([STAGE_OF_RUNS.name], dataclasses.replace(options, attention=True))
    assert load_stage(options.runs / f"{STAGE_OF_RUNS.name}_attention")[0].radius == REACH
    assert not (options.runs / STAGE_OF_RUNS.name).exists()


def test_single_frames_become_runs_for_steadiness(options: ShipOptions) -> None:
    ship([SEED.name], dataclasses.replace(options, steadiness=0.3))
    stage = load_stage(options.runs / SEED.name)[0]
    assert (stage.frames, stage.steadiness, stage.batch) == (3, 0.3, 1)


def test_a_stage_that_finds_nothing_to_start_from_says_what_to_train(options: ShipOptions) -> None:
    with pytest.raises(TrainerError, match=r"tinymax_x2 starts from tinybase_x2, which has no run in '.*runs'\. Train it first\."):
        ship([STAGE_OF_RUNS.name], options)
