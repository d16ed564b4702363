"""Stages: they learn, stop and go on as one run, and what is exported is what was trained."""

import dataclasses
import pathlib
import signal

import onnx
import pytest
import torch
from drawn_scenes import draw_scene

from streamsr.models import load_spec
from trainer import stage_loop
from trainer.export.export_stage import export_stage, load_stage
from trainer.export.onnx_luma_chroma import weights_of_onnx
from trainer.nets.luma_chroma import LumaChroma, split
from trainer.nets.quantised_luma_chroma import LumaChromaInt8
from trainer.stage_loop import learning_rate, train
from trainer.stages import STAGES, Stage, stage_named
from trainer.trainer_error import TrainerError

STAGE = Stage("tiny_x2", "tiny", 2, "natural", steps=12, channels=16, layers=2, batch=2, crop=16, warmup=2)


SCENES = [draw_scene(seed) for seed in range(2)]


def test_it_starts_as_repetition() -> None:
    x = torch.rand(1, 5, 12, 14)
    net = LumaChroma(2)
    torch.nn.init.zeros_(net.tail.weight)
    luma, chroma = split(net(x), 2)
    assert torch.allclose(luma, x[:, :1].repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-6)
    assert torch.allclose(chroma, x[:, 1:3], atol=1e-6)


def test_cost_and_reach_of_the_shipped_networks() -> None:
    lite, base = (stage_loop.build(stage_named(name)) for name in ("lite_x2", "base_x2"))
    assert lite.macs_per_pixel <= 12_000
    assert 50_000 <= base.macs_per_pixel <= 60_000
    for net in (lite, base):  # a pixel that far away does not count, one nearer does
        x = torch.rand(1, 5, 41, 41)
        torch.nn.init.normal_(net.tail.weight)
        moved = x.clone()
        moved[..., 20, 20] += 0.5
        with torch.no_grad():
            seen = (net(x) != net(moved)).any(1)[0].nonzero()
        assert int((seen - 20).abs().max()) == net.receptive_radius


def test_learning_rate_rises_stays_and_falls() -> None:
    stage = dataclasses.replace(STAGE, steps=1000, warmup=100, decay=0.25, lr=1.0)
    rates = [learning_rate(step, stage) for step in (0, 50, 100, 749, 875, 999)]
    assert rates == pytest.approx([0.01, 0.51, 1.0, 1.0, 0.5, 0.01])


def test_a_stopped_run_goes_on_as_the_whole_one(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_loop, "CHECK_EVERY", 5)
    whole = train(STAGE, SCENES, SCENES, tmp_path / "whole")
    # as long as the run that follows, but stopped at a checkpoint
    draws = {"left": 7}
    real = stage_loop.Batches.draw

    def draw(self: stage_loop.Batches) -> tuple[torch.Tensor, torch.Tensor]:
        draws["left"] -= 1
        if draws["left"] == 0:
            signal.raise_signal(signal.SIGINT)
        return real(self)

    monkeypatch.setattr(stage_loop.Batches, "draw", draw)
    with pytest.raises(KeyboardInterrupt):
        train(STAGE, SCENES, SCENES, tmp_path / "parts")
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["step"] == 7
    monkeypatch.setattr(stage_loop.Batches, "draw", real)
    parts = train(STAGE, SCENES, SCENES, tmp_path / "parts")
    assert all(torch.equal(one, other) for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


def test_training_brings_the_loss_down(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_loop, "LOG_EVERY", 10)
    train(dataclasses.replace(STAGE, steps=150), SCENES, SCENES, tmp_path)
    losses = [float(line.split("loss ")[1].split()[0]) for line in capsys.readouterr().out.splitlines() if " loss " in line]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("residual", [False, True])
def test_exported_files_are_the_trained_networks(tmp_path: pathlib.Path, residual: bool) -> None:
    stage = dataclasses.replace(STAGE, residual=residual, steps=4)
    small = dataclasses.replace(stage, name="tiny_int8_x2", quantised=True, seed_from="tiny_x2")
    net = train(stage, SCENES, SCENES, tmp_path / "whole")
    train(small, SCENES, SCENES, tmp_path / "small", seed_weights=net.state_dict())
    card = export_stage(tmp_path / "whole", tmp_path / "small", tmp_path, {"trained_on": "noise"})
    assert (card["chroma"], card["look"], card["training"]["steps"]) == (True, "natural", 4)
    spec = load_spec(tmp_path / "tiny_x2.json")
    assert spec.has_chroma
    assert spec.read(int8=True)
    assert {node.op_type for node in onnx.load(spec.path).graph.node} == {"Mul", "Add", "Concat", "Conv", "Relu", "DepthToSpace"}
    weights = weights_of_onnx(spec.path)
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.allclose(weights[name], value, atol=1e-7) for name, value in net.state_dict().items())


def test_int8_of_another_network_is_refused(tmp_path: pathlib.Path) -> None:
    train(dataclasses.replace(STAGE, steps=1), SCENES, SCENES, tmp_path / "whole")
    train(dataclasses.replace(STAGE, steps=1, layers=3, quantised=True), SCENES, SCENES, tmp_path / "small")
    with pytest.raises(TrainerError, match="no quantised run"):
        export_stage(tmp_path / "whole", tmp_path / "small", tmp_path, {})


def test_rounded_arithmetic_is_near_the_float_one() -> None:
    torch.manual_seed(0)
    whole, small = LumaChroma(2, 16, 3), LumaChromaInt8(2, 16, 3)
    torch.nn.init.normal_(whole.tail.weight, std=0.05)
    small.load_state_dict(whole.state_dict(), strict=False)
    x = torch.randint(0, 256, (1, 5, 24, 24)) / 255
    small.measure(x)
    with torch.no_grad():
        error = (whole(x) - small(x)).abs().mean() * 255
    assert 0 < float(error) < 2


def test_stages_are_seeded_by_earlier_ones() -> None:
    names = list(STAGES)
    for stage in STAGES.values():
        assert not stage.seed_from or names.index(stage.seed_from) < names.index(stage.name)
    with pytest.raises(TrainerError, match="Unknown stage 'x'"):
        stage_named("x")


def test_a_foreign_checkpoint_is_a_clear_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"not one")
    with pytest.raises(TrainerError, match="is not a checkpoint"):
        load_stage(tmp_path)
