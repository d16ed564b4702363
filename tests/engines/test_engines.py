"""One contract for all engines, precisions, depths and sizes: the float64 network of make_model, within a tolerance."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from make_model import Network, make_network, reference, write_model
from open_or_skip import open_or_skip

from streamsr import engines
from streamsr.engines import Chroma, describe_model, open_engine
from streamsr.errors import EngineError, UsageError
from streamsr.models import WEIGHTS, ModelSpec, find_model, load_spec

# How far a code may be from the float64 result, as (largest, mean) share of the code range, on top of rounding (0.5
# and 0.25). float32: 24 bits of mantissa, six layers. bf16: 8 bits of mantissa in a residual that is a tenth of the
# signal; measured 0.0011 and 0.0002. int8: 255 steps an activation; measured 0.007 and 0.0005.
TOLERANCE = {"f32": (2e-6, 1e-6), "bf16": (0.002, 0.0004), "int8": (0.01, 0.001)}
ENGINES = [
    ("openvino", "f32"), ("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "f32"), ("onnxruntime", "int8"),
    ("torch", "f32"), ("torch", "bf16"),
]  # fmt: skip
SIZES = [(1, 1), (2, 3), (121, 161), (64, 200)]


@pytest.fixture(scope="module")
def network() -> Network:
    return make_network()


@pytest.fixture(scope="module")
def spec(network: Network, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return load_spec(write_model(network, tmp_path_factory.mktemp("model")).with_suffix(".json"))


def noise(height: int, width: int, bits: int, seed: int = 0) -> np.ndarray:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (height, width))
    return codes.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_engine_computes_the_network(network: Network, spec: ModelSpec, engine: str, precision: str, bits: int) -> None:
    opened = open_or_skip(spec, engine=engine, precision=precision, bits=bits)
    assert (opened.name, opened.precision, opened.device, opened.scale, opened.bits) == (engine, precision, "cpu", 2, bits)
    max_code = (1 << bits) - 1
    largest, mean = TOLERANCE[precision]
    for height, width in SIZES:
        luma = noise(height, width, bits)
        out = np.empty((2 * height, 2 * width), luma.dtype)
        opened.infer(luma, out)
        error = np.abs(out - np.clip(reference(network, luma / max_code) * max_code, 0, max_code))
        assert error.max() <= 0.5 + largest * max_code
        if error.size > 1000:
            assert error.mean() <= 0.26 + mean * max_code
    opened.close()


@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_padded_rows_and_strided_output_work(spec: ModelSpec, engine: str, precision: str) -> None:
    opened = open_or_skip(spec, engine=engine, precision=precision)
    wide = noise(30, 64, 8)
    expected = np.empty((60, 80), np.uint8)
    opened.infer(np.ascontiguousarray(wide[:, :40]), expected)
    canvas = np.zeros((60, 128), np.uint8)
    opened.infer(wide[:, :40], canvas[:, :80])
    np.testing.assert_array_equal(canvas[:, :80], expected)
    assert not canvas[:, 80:].any()


@pytest.mark.parametrize(("engine", "precision"), [("openvino", "int8"), ("onnxruntime", "f32")])
def test_parallel_calls_give_the_same_as_single_ones(spec: ModelSpec, engine: str, precision: str) -> None:
    opened = open_or_skip(spec, engine=engine, precision=precision)
    planes = [noise(40 + 8 * (seed % 3), 60, 8, seed) for seed in range(24)]  # three sizes, compiled while others run
    results = [np.empty((2 * plane.shape[0], 120), np.uint8) for plane in planes]
    expected = [np.empty_like(result) for result in results]

    def run(worker: int) -> None:
        for index in range(worker, len(planes), 4):
            opened.infer(planes[index], results[index])

    workers = [threading.Thread(target=run, args=(worker,)) for worker in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    for plane, want, have in zip(planes, expected, results, strict=True):
        opened.infer(plane, want)
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize(("bits", "wanted"), [(8, {"int8"}), (10, {"bf16", "f32"}), (16, {"f32"})])
def test_auto_precision_follows_the_depth(spec: ModelSpec, bits: int, wanted: set[str]) -> None:
    opened = open_engine(spec, bits=bits)
    assert opened.precision in wanted
    assert opened.precision in opened.reason


def test_auto_without_int8_takes_the_float_file(network: Network, tmp_path: Path) -> None:
    spec = load_spec(write_model(network, tmp_path, int8=False).with_suffix(".json"))
    assert open_engine(spec).precision in ("bf16", "f32")
    with pytest.raises(EngineError, match="no int8"):
        open_engine(spec, precision="int8")


def test_int8_for_live_streams_alone_is_left_to_them_and_to_who_asks(spec: ModelSpec) -> None:
    pytest.importorskip("openvino")
    from openvino import Core

    spec = dataclasses.replace(spec, int8_live_only=True)
    file = open_engine(spec, engine="openvino")
    assert file.precision == ("bf16" if "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32")
    assert "its int8 is for live streams alone" in file.reason
    assert open_engine(spec, engine="openvino", hint="latency").precision == "int8"
    assert open_engine(spec, engine="openvino", precision="int8").precision == "int8"


def test_auto_falls_back_to_onnxruntime(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(engines, "is_installed", lambda name: name != "openvino")
    assert open_engine(spec).name == "onnxruntime"
    with pytest.raises(EngineError, match="pip install openvino"):
        open_engine(spec, engine="openvino")


def test_no_engine_at_all_names_the_pip_commands(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "is_installed", lambda name: False)
    with pytest.raises(EngineError, match=r"pip install openvino or pip install 'streamsr\[ort\]'"):
        open_engine(spec)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"engine": "tensorflow"}, "Unknown engine 'tensorflow'. Engines: auto, openvino, onnxruntime, resize"),
        ({"precision": "fp4"}, "Unknown precision 'fp4'"),
        ({"hint": "fast"}, "Unknown hint 'fast'"),
        ({"bits": 7}, "bits is 7"),
        ({"threads": -1}, "threads is -1"),
        ({"scale": 3}, "is for x2, not x3"),
    ],
)
def test_options_that_cannot_be_are_usage_errors(spec: ModelSpec, options: dict[str, object], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_engine(spec, **options)  # type: ignore[arg-type]
    assert text in str(caught.value)


def test_missing_device_names_those_that_are_there(spec: ModelSpec) -> None:
    with pytest.raises(EngineError, match=r"no device 'npu\.7' here\. Devices: cpu"):
        open_engine(spec, engine="openvino", device="npu.7")


def test_resize_engine_needs_no_model() -> None:
    opened = open_engine(None, engine="resize", scale=3, bits=10)
    out = np.empty((30, 60), np.uint16)
    opened.infer(np.full((10, 20), 700, np.uint16), out)
    assert (out == 700).all()
    with pytest.raises(UsageError, match="needs a model"):
        open_engine(None, engine="openvino")


def test_importing_engines_imports_no_runtime() -> None:
    import subprocess

    runtimes = ("openvino", "onnxruntime", "onnx", "torch", "tensorrt", "tensorrt_rtx", "cupy")
    code = f"import sys, streamsr.engines, streamsr.upscaling.upscaler; print([name for name in {runtimes} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("scale", [2, 3])
def test_bare_model_is_measured(tmp_path: Path, engine: str, scale: int) -> None:
    pytest.importorskip(engine)
    path = write_model(make_network(scale=scale, layers=5), tmp_path, int8=False)
    measured = describe_model(path, engine=engine)
    assert measured.scale == scale
    assert measured.receptive_field is not None
    assert measured.receptive_field >= json.loads(path.with_suffix(".json").read_text())["receptive_field"]


def test_file_that_is_no_model_is_an_engine_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        describe_model(path, engine="openvino")


@pytest.mark.skipif(not (WEIGHTS / "lite_x2.json").is_file(), reason="no shipped weights")
@pytest.mark.parametrize(("engine", "precision"), ENGINES)
def test_shipped_model_agrees_with_its_own_float_file(engine: str, precision: str) -> None:
    """The file as any other tool would run it, in floats on ONNX Runtime, is the reference."""
    ort = pytest.importorskip("onnxruntime")
    spec = find_model("lite", 2)
    y, x = np.mgrid[:96, :128]
    luma = np.rint(126 + 60 * np.sin(x / 5 + y / 9) + 40 * np.sign(np.sin(x * y / 300))).astype(np.uint8)
    session = ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    chroma = np.rint(128 + 30 * np.stack([np.sin(x / 9), np.cos(y / 7)])).astype(np.uint8)
    call = Chroma(chroma, np.empty_like(chroma), (0.25, 0.5))
    given = {"luma": luma[None, None], "chroma": chroma[None]}
    told = {"condition": call.told} | {name: codes.astype(np.float32) / 255 for name, codes in given.items()}
    exact, exact_chroma = (made[0] * 255 for made in session.run(["luma_hr", "chroma_hr"], told))
    out = np.empty((192, 256), np.uint8)
    open_or_skip(spec, engine=engine, precision=precision).infer(luma, out, (), call)
    for got, wanted in ((out, exact[0]), (call.out, exact_chroma)):
        error = np.abs(got - np.clip(wanted, 0, 255))
        # int8 was trained further, and clips rare activations: only the mean is bounded there
        assert error.mean() <= {"f32": 0.27, "bf16": 0.3, "int8": 0.7}[precision]
        if precision != "int8":
            assert error.max() <= {"f32": 0.501, "bf16": 3.0}[precision]
