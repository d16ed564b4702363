"""int8 of recurrent networks: the state stays exact, little is lost, engines agree, and a bad file is not kept."""

import dataclasses
import json
import pathlib

import numpy as np
import onnx
import pytest
import torch

from trainer.checkpoint import FORMAT
from trainer.export import recurrent_int8
from trainer.export.calibration import calibration_runs
from trainer.export.export_run import ExportOptions, export
from trainer.export.onnx_base import EXACT_NODES, onnx_of_base
from trainer.export.recurrent_int8 import Run, calibration_samples, engine_gap, lost_to_int8, quantised_recurrent
from trainer.nets import Base, build_network
from trainer.recipes import base

pytest.importorskip("nncf")
SCALE = 2


def scene(seed: int, num_frames: int = 6, height: int = 40, width: int = 48) -> Run:
    rng = np.random.default_rng(seed)
    high, wide = SCALE * height, SCALE * width
    texture = np.kron(rng.integers(30, 220, (high // 8 + 2, wide // 8 + 2)), np.ones((8, 8), int)).astype(np.uint8)
    hr = [texture[t : t + high, t : t + wide] for t in range(num_frames)]
    lr = [np.rint(frame.reshape(height, SCALE, width, SCALE).mean((1, 3))).astype(np.uint8) for frame in hr]
    return Run(lr, hr)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """A float32 file and its int8 form."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("int8")
    model = onnx_of_base(Base(SCALE, 16, 2, radius=3).eval(), {"name": "net"})
    onnx.save(model, folder / "full.onnx")
    onnx.save(quantised_recurrent(model, [scene(seed) for seed in range(4)]), folder / "small.onnx")
    return folder / "full.onnx", folder / "small.onnx"


def test_attention_state_and_residual_stay_in_float32_and_the_rest_does_not(files: tuple[pathlib.Path, pathlib.Path]) -> None:
    full, small = (onnx.load(file) for file in files)
    assert [f.name for f in small.functions] == ["LocalAxialAttention"]
    assert [(i.name, len(i.type.tensor_type.shape.dim)) for i in small.graph.input] == [("luma", 4), ("state_0", 4)]
    assert [o.name for o in small.graph.output] == ["luma_hr", "state_0_next"]
    made_by = {name: node for node in small.graph.node for name in node.output}
    for node in small.graph.node:
        reads_int8 = any(name in made_by and made_by[name].op_type == "DequantizeLinear" for name in node.input)
        if node.name in EXACT_NODES or node.name.startswith(("attention_", "split_")):
            assert not reads_int8, node.name
        elif node.op_type == "Conv":
            assert reads_int8, node.name
    assert {p.key: p.value for p in small.metadata_props} == {p.key: p.value for p in full.metadata_props}


def test_little_is_lost_and_engines_agree(files: tuple[pathlib.Path, pathlib.Path]) -> None:
    checks = [scene(9), scene(10)]
    assert abs(lost_to_int8(*files, checks)) < 0.1
    assert lost_to_int8(files[0], files[0], checks) == 0
    assert engine_gap(files[1], checks[0]) < recurrent_int8.ENGINE_TOLERANCE
    assert files[1].read_bytes() != files[0].read_bytes()


def test_calibration_sees_the_states_that_the_network_makes(files: tuple[pathlib.Path, pathlib.Path]) -> None:
    samples = calibration_samples(onnx.load(files[0]), [scene(0)], ["by_frame"])
    assert len(samples) == recurrent_int8.FRAMES
    assert np.abs(samples[0]["state_0"]).max() == 0
    assert all(np.abs(sample["state_0"]).max() > 0.05 for sample in samples[1:])
    assert samples[1]["by_frame"].shape == (1, 16, 40, 48)
    assert all((sample["luma"].min(), sample["luma"].max()) == (0, 1) for sample in samples)


def test_export_writes_what_is_good_and_nothing_else(
    photos: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    recipe = dataclasses.replace(base(2), channels=16, layers=2, radius=2)
    state = {"format": FORMAT, "recipe": dataclasses.asdict(recipe), "step": 3, "seconds": 1.5, "metrics": {}}
    torch.save(state | {"ema": build_network(recipe).state_dict()}, tmp_path / "run.ckpt")
    runs = calibration_runs(photos, degradation="moving", scale=2, count=2)
    assert (len(runs[0]), len(runs[1])) == (2, 1)
    card = export(tmp_path / "run.ckpt", tmp_path, None, ExportOptions(name="base", overwrite=True), runs=runs)
    assert card["int8"]["file"] == "base_x2_int8.onnx"
    assert card["int8"]["psnr_y_lost_db"] < 0.1
    assert (tmp_path / "base_x2_int8.onnx").is_file()
    monkeypatch.setattr(recurrent_int8, "INT8_LOSS", -99.0)
    card = export(tmp_path / "run.ckpt", tmp_path, None, ExportOptions(name="base", overwrite=True), runs=runs)
    assert card["int8"] is None
    assert not (tmp_path / "base_x2_int8.onnx").exists()
    assert json.loads((tmp_path / "base_x2.json").read_text())["int8"] is None
    assert "there is no int8 file" in capsys.readouterr().out
