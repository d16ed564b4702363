"""Exported files agree with torch, keep the contract and survive int8."""

import json
import pathlib

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from trainer.checkpoint import FORMAT
from trainer.export.export_run import ExportOptions, export, sha256_of
from trainer.export.onnx_lite import onnx_of
from trainer.nets import Lite
from trainer.recipes import lite_clean
from trainer.trainer_error import TrainerError

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A checkpoint with random weights of an ordinary size."""
    import dataclasses

    torch.manual_seed(0)
    net = Lite(2)
    path = tmp_path_factory.mktemp("run") / "last.ckpt"
    recipe = dataclasses.asdict(dataclasses.replace(lite_clean(2), layers=5))
    torch.save(
        {
            "format": FORMAT,
            "recipe": recipe,
            "step": 3,
            "seconds": 1.5,
            "ema": net.state_dict(),
            "metrics": {"psnr": 30.0},
        },
        path,
    )
    return path


@pytest.mark.parametrize(("net", "macs"), [(Lite(2), 11728), (Lite(2, layers=4, tail=3), 9936)])
def test_lite_costs_what_a_hook_on_every_convolution_counts(net: Lite, macs: int) -> None:
    counted = 0

    def count(module: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal counted
        counted += output[0].numel() * module.weight[0].numel()

    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    net(torch.zeros(1, 1, 24, 32))
    assert counted / (24 * 32) == net.macs_per_pixel == macs


@pytest.mark.parametrize("tail", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_onnx_runtime_gives_what_torch_gives(scale: int, tail: int) -> None:
    torch.manual_seed(scale)
    net = Lite(scale, tail=tail).eval()
    session = ort.InferenceSession(onnx_of(net).SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 31, 18), (3, 1, 8, 8)):
        x = np.random.default_rng(0).random(shape, np.float32)
        with torch.no_grad():
            expected = net(torch.from_numpy(x)).numpy()
        got = session.run(["luma_hr"], {"luma": x})[0]
        assert got.shape == (shape[0], 1, scale * shape[2], scale * shape[3])
        assert np.abs(got - expected).max() < 1e-5


def test_the_input_is_repeated_when_the_tail_is_silent() -> None:
    net = Lite(3)
    torch.nn.init.zeros_(net.tail.weight)
    x = np.random.default_rng(0).random((1, 1, 6, 7), np.float32)
    with torch.no_grad():
        got = net(torch.from_numpy(x)).numpy()[0, 0]
    assert np.array_equal(got, np.kron(x[0, 0], np.ones((3, 3), np.float32)))


@pytest.mark.parametrize("tail", [1, 3])
def test_tiles_with_an_overlap_of_the_receptive_field_are_exact(tail: int) -> None:
    net = Lite(2, tail=tail).eval()
    radius = net.receptive_radius
    x = torch.rand(1, 1, 40, 40)
    with torch.no_grad():
        whole, tile = net(x), net(x[..., 10:, 12:])
    assert torch.allclose(whole[..., 2 * (10 + radius) :, 2 * (12 + radius) :], tile[..., 2 * radius :, 2 * radius :], atol=1e-6)
    with torch.no_grad():
        moved = x.clone()
        moved[0, 0, 20, 20] += 1
        reach = (net(moved) - whole).abs()[0, 0] > 0
    rows = torch.nonzero(reach.any(1)).flatten() // 2
    assert rows.min() >= 20 - radius
    assert rows.max() <= 20 + radius


def test_export_keeps_the_contract(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    export(run, tmp_path, None, ExportOptions(name="lite", trained_on="drawn pictures (CC0)"))
    card = json.loads((tmp_path / "lite_x2.json").read_text())
    assert (card["name"], card["scale"], card["input"], card["output"]) == ("lite", 2, "luma", "luma_hr")
    assert (card["receptive_field"], card["size_multiple"], card["int8"]) == (6, 1, None)
    assert card["license"] == "Apache-2.0"
    assert card["trained_on"] == "drawn pictures (CC0)"
    assert card["sha256"] == sha256_of(tmp_path / card["file"])
    model = onnx.load(tmp_path / card["file"])
    assert model.opset_import[0].version <= 18
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    [given], [made] = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("luma", "luma_hr")
    assert [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim] == ["n", 1, "h", "w"]
    assert {p.key: p.value for p in model.metadata_props}["macs_per_pixel"] == "11728"


def test_an_export_that_fails_leaves_the_one_before(run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(run, tmp_path, None, ExportOptions(name="lite", trained_on="drawn pictures (CC0)"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"lite_x2.onnx", "lite_x2.json"}
    monkeypatch.setattr("trainer.export.export_run.FLOAT_TOLERANCE", -1.0)
    with pytest.raises(TrainerError, match="off the trained network"):
        export(run, tmp_path, None, ExportOptions(name="lite", trained_on="others", overwrite=True))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_second_export_scores_its_own_files(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / "pictures" / "a.png")
    options = ExportOptions(name="lite", evaluate_on=(tmp_path / "pictures",), overwrite=True)
    first = export(run, tmp_path / "weights", None, options)["metrics"]["pictures_float32"]
    state = torch.load(run, weights_only=False)
    state["ema"] = Lite(2).state_dict()
    torch.save(state, tmp_path / "other.ckpt")
    second = export(tmp_path / "other.ckpt", tmp_path / "weights", None, options)["metrics"]["pictures_float32"]
    assert second != first
    assert json.loads((tmp_path / "weights" / "lite_x2.json").read_text())["metrics"]["pictures_float32"] == second


def test_int8_stays_close_to_float32(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    pytest.importorskip("nncf")
    rng = np.random.default_rng(0)
    samples = [np.clip(rng.random((1, 1, 1, 1)) + rng.normal(0, 0.1, (1, 1, 32, 32)), 0, 1).astype(np.float32) for _ in range(8)]
    card = export(run, tmp_path, samples, ExportOptions())
    session = ort.InferenceSession(str(tmp_path / card["int8"]["file"]), providers=["CPUExecutionProvider"])
    full = ort.InferenceSession(str(tmp_path / card["file"]), providers=["CPUExecutionProvider"])
    gap = np.abs(session.run(None, {"luma": samples[0]})[0] - full.run(None, {"luma": samples[0]})[0])
    assert gap.mean() * 255 < 0.5  # less than rounding to 8 bits can cost
    graph = onnx.load(tmp_path / card["int8"]["file"]).graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    weights = [values for values in map(numpy_helper.to_array, graph.initializer) if values.dtype == np.int8 and values.ndim == 4]
    assert len(weights) == 7
    assert all(2 * 255 * int(np.abs(values.astype(int)).max()) < 2**15 for values in weights)  # sums of two in 16 bits: no VNNI needed


def test_export_replaces_no_model_unless_told(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    card = export(run, tmp_path, None, ExportOptions(name="lite"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TrainerError, match="--overwrite replaces the model"):
        export(run, tmp_path, None, ExportOptions(name="lite", trained_on="others"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert export(run, tmp_path, None, ExportOptions(name="lite", overwrite=True))["sha256"] == card["sha256"]


def test_what_is_no_checkpoint_is_named_in_a_line(tmp_path: pathlib.Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(TrainerError, match="is not a checkpoint of this trainer") as caught:
        export(tmp_path, tmp_path / "out", None, ExportOptions())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
