"""Stages: they learn, stop and go on as one run, and what is exported is what was trained."""

import dataclasses
import pathlib
import signal

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from drawn_scenes import draw_scene

from streamsr.models import StateShape, load_spec
from trainer import stage_loop
from trainer.data import scene_pool
from trainer.data.scene_crops import Batches
from trainer.data.scene_pool import Scene
from trainer.data.scenes import NUM_FRAMES
from trainer.export import export_stage as export_module
from trainer.export.export_stage import export_stage, load_stage
from trainer.export.onnx_luma_chroma import weights_of_onnx
from trainer.nets.luma_chroma import LumaChroma, split
from trainer.nets.quantised_luma_chroma import LumaChromaInt8
from trainer.nets.recurrent_luma_chroma import RecurrentLumaChroma
from trainer.stage_loop import learning_rate, train
from trainer.stages import REACH, STAGES, Look, Stage, stage_named, with_attention
from trainer.trainer_error import TrainerError

STAGE = Stage("tiny_x2", "tiny", 2, "natural", steps=12, channels=16, layers=2, batch=2, crop=16, warmup=2)


SCENES = [draw_scene(seed) for seed in range(2)]
RUNS = [draw_scene(seed, frames=NUM_FRAMES) for seed in range(2)]
MAX = dataclasses.replace(
    STAGE, name="tinymax_x2", model="tinymax", channels=8, layers=4, residual=True, recurrent=True, radius=2, frames=3, steadiness=0.5,
    half=True,
)  # fmt: skip


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_it_starts_as_linear_interpolation_exact_in_half_precision(scale: int) -> None:
    net = LumaChroma(scale)
    torch.nn.init.zeros_(net.tail.weight)
    slope = torch.linspace(0.2, 0.9, 14).expand(1, 5, 12, 14)
    luma, chroma = split(net(slope), scale)
    assert torch.allclose(chroma, slope[:, 1:3], atol=1e-6)
    inner = luma[0, 0, :, scale // 2 : -(scale // 2)]
    steps = inner.diff(dim=1) / (slope[0, 0, 0, 1] - slope[0, 0, 0, 0])
    # thirds are of 16ths: 5/16 in place of 1/3
    assert torch.allclose(steps, torch.tensor(1 / scale), atol=0.05 if scale == 3 else 1e-4)
    assert torch.allclose(inner[0], inner, atol=1e-6)  # rows alike, also at the border
    weight = net.interpolation
    assert torch.equal(weight.bfloat16().float(), weight)
    assert torch.equal(weight.sum((1, 2, 3)), torch.ones(scale**2))


def test_half_precision_does_not_round_the_picture() -> None:
    net = LumaChroma(2)
    torch.nn.init.zeros_(net.tail.weight)
    x = torch.rand(1, 5, 12, 14)
    with torch.autocast("cpu", torch.bfloat16):
        luma, _ = split(net(x), 2)
    expected = torch.nn.functional.interpolate(x[:, :1], scale_factor=2, mode="bilinear")
    assert torch.allclose(luma, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [3, 4])
def test_scenes_of_larger_scales_train_and_are_checked(scale: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_pool, "WAYS", 2)
    for name in ("drawn", "val"):
        arrays = scene_pool.make_scene(None, seed=len(name), scale=scale)
        np.savez(tmp_path / f"{name}_00_0.npz", **arrays)  # type: ignore[arg-type]
    training, validation = scene_pool.load_pool(tmp_path)
    stage = dataclasses.replace(STAGE, name=f"tiny_x{scale}", scale=scale, steps=2)
    net = train(stage, training, validation, tmp_path / "run")
    gains = stage_loop.check(net, validation, stage)  # type: ignore[arg-type]
    assert gains.keys() == {"clean_y", "clean_c", "found_y", "found_c"}
    assert all(np.isfinite(value) for value in gains.values())


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


@pytest.mark.parametrize(
    ("stage", "scenes"), [(STAGE, SCENES), (dataclasses.replace(MAX, adversarial_weight=0.01), RUNS)], ids=["pictures", "runs, a critic"]
)
def test_a_stopped_run_goes_on_as_the_whole_one(
    stage: Stage, scenes: list[Scene], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage_loop, "CHECK_EVERY", 5)
    monkeypatch.setattr(stage_loop, "LOG_EVERY", 4)
    monkeypatch.setattr(stage_loop, "CHECKED_SIDE_OF_RUNS", 16)
    whole = train(stage, scenes, scenes, tmp_path / "whole")
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
        train(stage, scenes, scenes, tmp_path / "parts")
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["step"] == 7
    monkeypatch.setattr(stage_loop.Batches, "draw", real)
    parts = train(stage, scenes, scenes, tmp_path / "parts")
    assert all(torch.equal(one, other) for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))
    losses = [float(line.split("loss ")[1].split()[0]) for line in capsys.readouterr().out.splitlines() if " step 8/" in line]
    assert 0.5 < losses[1] / losses[0] < 2  # a mean of the one step since it went on, not of four


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
    assert (card["chroma"], card["chroma_filter"], card["look"], card["training"]["steps"]) == (True, "lanczos", "natural", 4)
    assert "x264" in card["degradation"]
    spec = load_spec(tmp_path / "tiny_x2.json")
    assert spec.has_chroma
    assert spec.read(int8=True)
    assert {node.op_type for node in onnx.load(spec.path).graph.node} == {"Mul", "Add", "Concat", "Conv", "Relu", "Pad", "DepthToSpace"}
    weights = weights_of_onnx(spec.path)
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.allclose(weights[name], value, atol=1e-7) for name, value in net.state_dict().items())
    assert spec.int8_path is not None
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(spec.int8_path).graph.initializer}
    codes = [value.astype(int) for name, value in stored.items() if name.endswith("weight.codes")]
    assert len(codes) == 5
    assert max(2 * 255 * np.abs(values).max() for values in codes) <= 32767  # two products in 16 bits


@pytest.mark.parametrize("radius", [0, 2])
def test_an_exported_network_with_a_state_is_the_trained_one(tmp_path: pathlib.Path, radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_loop, "CHECKED_SIDE_OF_RUNS", 16)
    net = train(dataclasses.replace(MAX, radius=radius, steps=4), RUNS, RUNS, tmp_path)
    card = export_stage(tmp_path, None, tmp_path, {})
    assert card["onnx_max_abs_error"] < 2e-5
    spec = load_spec(tmp_path / "tinymax_x2.json")
    assert (spec.has_chroma, spec.states) == (True, (StateShape("state_0", 8),))
    model = onnx.load(spec.path)
    assert {function.name for function in model.functions} == ({"LocalAxialAttention"} if radius else set())
    assert sorted(given.name for given in model.graph.input) == ["chroma", "condition", "luma", "state_0"]
    weights = weights_of_onnx(spec.path)
    assert weights.keys() == net.state_dict().keys()
    assert all(torch.allclose(weights[name], value, atol=1e-7) for name, value in net.state_dict().items())


def test_a_wrong_file_is_not_written(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_loop, "CHECKED_SIDE_OF_RUNS", 16)
    train(dataclasses.replace(MAX, steps=1), RUNS, RUNS, tmp_path)
    real = export_module.onnx_of

    def changed(net: RecurrentLumaChroma) -> onnx.ModelProto:
        """What goes into the next state is a little off."""
        model = real(net)
        (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "update.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1e-3), "update.bias"))
        return model

    monkeypatch.setattr(export_module, "onnx_of", changed)
    with pytest.raises(TrainerError, match="off the trained network"):
        export_stage(tmp_path, None, tmp_path, {})
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize("scale", [2, 3])
def test_natural_networks_aim_at_more_contrast_of_edges_and_nothing_else(scale: int) -> None:
    luma = torch.full((1, 1, 6 * scale, 8 * scale), 0.25)
    luma[..., 4 * scale :] = 0.75
    target = torch.cat([torch.nn.functional.pixel_unshuffle(luma, scale), torch.rand(1, 2, 6, 8)], 1)[None]
    stage, found = dataclasses.replace(STAGE, scale=scale, gain=0.4), torch.tensor([False])
    made, chroma = split(stage_loop.aimed(target, found, stage)[0], scale)
    assert torch.equal(chroma, target[0, :, -2:])
    taps = torch.exp(-0.5 * torch.arange(-2.0, 3.0) ** 2)
    taps /= taps.sum()
    row = luma[0, 0, 0]
    for column in (4 * scale - 2, 4 * scale - 1, 4 * scale, 4 * scale + 1, 2):
        smooth = (row[column - 2 : column + 3] * taps).sum()
        torch.testing.assert_close(made[0, 0, :, column], (row[column] + 0.4 * (row[column] - smooth)).expand(6 * scale))
    assert stage_loop.aimed(target, found, STAGE) is target
    both = stage_loop.aimed(target.repeat(1, 2, 1, 1, 1), torch.tensor([True, False]), stage)
    assert torch.equal(both[:, 0], target[:, 0])  # a clean source is not sharpened
    assert torch.equal(split(both[:, 1], scale)[0], made)
    assert {stage.name for stage in STAGES.values() if stage.gain} == {stage.name for stage in STAGES.values() if stage.look == "natural"}


def test_boiling_costs_and_motion_does_not() -> None:
    stage = dataclasses.replace(MAX, eps=1e-6, chroma_weight=0.0)
    target = torch.linspace(0, 1, 4).view(4, 1, 1, 1, 1).expand(4, 1, 6, 8, 8)
    offset, boiling = target + 0.1, target + 0.1 * torch.tensor([1.0, -1, 1, -1]).view(4, 1, 1, 1, 1)
    still = dataclasses.replace(stage, steadiness=0.0)
    assert float(stage_loop.fidelity(offset, target, stage)) == pytest.approx(0.1, abs=1e-4)
    assert float(stage_loop.fidelity(boiling, target, stage)) == pytest.approx(0.1 + 0.5 * 0.2, abs=1e-4)
    assert float(stage_loop.fidelity(boiling, target, still)) == pytest.approx(0.1, abs=1e-4)


def test_a_narrower_network_seeds_a_wider_one(tmp_path: pathlib.Path) -> None:
    narrow = dataclasses.replace(STAGE, channels=4, residual=True)
    weights = train(dataclasses.replace(narrow, steps=1), SCENES, SCENES, tmp_path).state_dict()
    net, batches = stage_loop.build(MAX), stage_loop.Batches(RUNS, scale=2, batch=1, crop=16, seed=1, chroma_filter="linear")
    stage_loop.seed(net, weights, batches)
    assert torch.equal(net.head.weight[:4], weights["head.weight"])
    with pytest.raises(TrainerError, match="do not fit: 8 channels and 4 layers do not fit into 16 channels and 2 layers"):
        stage_loop.seed(stage_loop.build(STAGE), net.state_dict(), batches)


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


@pytest.mark.parametrize("gain", [0.0, 0.4])
def test_int8_ends_without_a_shift_of_its_planes(gain: float) -> None:
    torch.manual_seed(0)
    stage, net = dataclasses.replace(STAGE, quantised=True, gain=gain), LumaChromaInt8(2, 16, 2)
    batches = Batches(SCENES, scale=2, batch=2, crop=32, seed=1, chroma_filter="linear")
    net.measure(batches.draw()[0].flatten(0, 1))
    with torch.no_grad():
        net.tail.bias += torch.linspace(-0.04, 0.04, 6)  # type: ignore[operator]

    def shifts() -> torch.Tensor:  # of another draw of batches, in codes
        others = Batches(SCENES, scale=2, batch=2, crop=32, seed=2, chroma_filter="linear")
        drawn = [others.draw() for _ in range(200)]
        with torch.no_grad():
            errors = [net(x[0]) - stage_loop.aimed(y, clean, stage)[0] for x, y, clean in drawn]
        return torch.stack([error.mean((0, 2, 3)) for error in errors]).mean(0).abs() * 255

    before = shifts()
    stage_loop.centre(net, batches, stage)
    assert before.max() > 2
    assert shifts().max() < 0.3


def test_stages_are_seeded_by_earlier_ones() -> None:
    names = list(STAGES)
    for stage in STAGES.values():
        assert not stage.seed_from or names.index(stage.seed_from) < names.index(stage.name)
    with pytest.raises(TrainerError, match="Unknown stage 'x'"):
        stage_named("x")


def test_attention_is_added_where_there_is_a_state() -> None:
    stage = stage_named("max_x2")
    assert not stage.radius
    assert with_attention(stage) == dataclasses.replace(stage, name="max_x2_attention", radius=REACH)
    with pytest.raises(TrainerError, match=r"base_x2 has no state to attend to\. Stages that have: max_x2"):
        with_attention(stage_named("base_x2"))


def test_a_foreign_checkpoint_is_a_clear_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"not one")
    with pytest.raises(TrainerError, match="is not a checkpoint"):
        load_stage(tmp_path)


@pytest.mark.parametrize(
    ("look", "said"), [("natural", "luma and chroma: runs"), ("faithful", "chroma, as close to the original as it can be: runs")]
)
def test_what_ships_says_what_it_is_for(look: Look, said: str, tmp_path: pathlib.Path) -> None:
    train(dataclasses.replace(STAGE, model="lite", look=look, steps=1), SCENES, SCENES, tmp_path / "run")
    assert said in export_stage(tmp_path / "run", None, tmp_path, {})["description"]
