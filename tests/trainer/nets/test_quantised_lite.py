"""The quantised network rounds as its int8 file does, learns, and is that file."""

import dataclasses
import json
import pathlib

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from trainer.checkpoint import FORMAT, seed_network
from trainer.export.export_run import ExportOptions, export
from trainer.export.onnx_int8 import onnx_int8_of
from trainer.nets import Lite, QuantisedLite
from trainer.nets.int8_arithmetic import snap
from trainer.recipes import Recipe, lite_clean
from trainer.trainer_error import TrainerError

ort = pytest.importorskip("onnxruntime")


def codes(*shape: int) -> torch.Tensor:
    """Smooth random pictures of 8-bit codes / 255."""
    rough = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    return torch.nn.functional.avg_pool2d(rough, 5, stride=1, padding=2).mul(255).round().div(255)


def measured(scale: int = 2, seed: int = 0, tail: int = 1) -> QuantisedLite:
    torch.manual_seed(seed)
    net = QuantisedLite(scale, tail=tail)
    net.measure(codes(4, 1, 40, 40))
    return net.eval()


def checkpoint(path: pathlib.Path, net: Lite, recipe: Recipe) -> pathlib.Path:
    state = {"format": FORMAT, "recipe": dataclasses.asdict(recipe), "step": 3, "seconds": 1.5, "ema": net.state_dict(), "metrics": {}}
    torch.save(state, path)
    return path


def test_snapping_takes_the_nearest_step_and_lets_gradients_through() -> None:
    x = torch.tensor([-0.3, 0.04, 0.26, 9.0], requires_grad=True)
    step = torch.tensor(0.1, requires_grad=True)
    y = snap(x, step, 0, 4)
    assert torch.allclose(y, torch.tensor([0.0, 0.0, 0.3, 0.4]))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0]  # none from outside the range
    assert step.grad is not None
    # d/dstep of a value inside is its rounding error in steps, of one above the range the largest code
    assert float(step.grad) == pytest.approx((0 - 0.4) + (3 - 2.6) + 4, abs=1e-5)


def test_measured_steps_keep_the_float_network_within_a_code_on_average() -> None:
    net = measured()
    plain = Lite(2)
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if name != "log_step"})
    x = codes(1, 1, 64, 64)
    with torch.no_grad():
        gap = (net(x) - plain(x)).abs() * 255
    assert 0 < gap.mean() < 1


@pytest.mark.parametrize(("scale", "tail"), [(2, 1), (3, 1), (2, 3)])
def test_the_int8_file_computes_what_the_network_does(scale: int, tail: int) -> None:
    net = measured(scale, seed=scale, tail=tail)
    model = onnx_int8_of(net)
    x = codes(2, 1, 33, 47)
    with torch.no_grad():
        expected = net(x).numpy()
    got = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(["luma_hr"], {"luma": x.numpy()})[0]
    assert np.abs(got - expected).mean() * 255 < 0.03  # a sum may round the other way now and then
    assert np.abs(got - expected).max() * 255 < 2


def test_every_convolution_of_the_int8_file_reads_8_bits() -> None:
    graph = onnx_int8_of(measured()).graph
    made_by = {name: node for node in graph.node for name in node.output}
    convs = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convs) == 7
    for conv in convs:
        for name in conv.input[:2]:
            assert made_by[name].op_type == "DequantizeLinear"
    [residual] = [node for node in graph.node if node.name == "residual"]
    assert "luma" in residual.input
    stored = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    codes = [stored[f"{conv.name}.weight.codes"] for conv in convs]
    assert all(part.dtype == np.int8 for part in codes)
    # two products fit into 16 bits: without VNNI they are added there, and clipped
    assert {int(np.abs(part).max()) for part in codes} == {63}


def test_a_quantised_run_becomes_the_int8_file_of_another(tmp_path: pathlib.Path) -> None:
    net, recipe = measured(), dataclasses.replace(lite_clean(2), layers=5)
    plain = Lite(2)
    seeded = checkpoint(tmp_path / "int8.ckpt", net, dataclasses.replace(recipe, quantised=True))
    assert seed_network(plain, seeded) == []
    run = checkpoint(tmp_path / "float.ckpt", plain, recipe)
    export(run, tmp_path, None, ExportOptions(name="lite", quantised_run=seeded, clean_form="lite-clean", picture_form="lite-picture"))
    card = json.loads((tmp_path / "lite_x2.json").read_text())
    assert card["int8"]["training"]["steps"] == 3
    assert (card["name"], card["clean_form"], card["picture_form"]) == ("lite", "lite-clean", "lite-picture")
    assert (tmp_path / "lite_x2.onnx").is_file()
    assert (tmp_path / card["int8"]["file"]).read_bytes() == onnx_int8_of(net, _props(tmp_path / card["int8"]["file"])).SerializeToString()


def _props(file: pathlib.Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_a_run_of_another_network_is_refused(tmp_path: pathlib.Path) -> None:
    recipe = dataclasses.replace(lite_clean(2), layers=5)
    run = checkpoint(tmp_path / "float.ckpt", Lite(2), recipe)
    with pytest.raises(TrainerError, match="no run with --quantised"):
        export(run, tmp_path, None, ExportOptions(quantised_run=run))
    three = checkpoint(tmp_path / "three.ckpt", measured(3), dataclasses.replace(lite_clean(3), layers=5, quantised=True))
    with pytest.raises(TrainerError, match="of a network like Lite at x2"):
        export(run, tmp_path, None, ExportOptions(quantised_run=three))
