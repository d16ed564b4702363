"""Engines on models of luma and chroma: the float64 network of make_chroma, whole, in tiles, and of odd sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from make_chroma import make_weights, reference, write_chroma_model
from open_or_skip import open_or_skip

from streamsr.engines import Chroma, open_engine
from streamsr.engines.tiling import infer_tiled
from streamsr.errors import EngineError
from streamsr.models import ModelSpec, find_model, load_spec

CONDITION = (0.4, 0.7)
# codes of 255: rounding, and eight bits of mantissa in bf16
TOLERANCE = {"f32": 0.51, "bf16": 2.0}
ENGINES = [("openvino", "f32"), ("openvino", "bf16"), ("onnxruntime", "f32"), ("torch", "f32")]


@pytest.fixture(params=[2, 3])
def scale(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[True, False], ids=["interpolated", "repeated"])
def weights(request: pytest.FixtureRequest, scale: int) -> dict[str, np.ndarray]:
    return make_weights(scale, interpolates=request.param)


@pytest.fixture
def spec(weights: dict[str, np.ndarray], tmp_path: Path) -> ModelSpec:
    return load_spec(write_chroma_model(weights, tmp_path).with_suffix(".json"))


def draw(height: int, width: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    kind = np.uint8 if bits == 8 else np.uint16
    return rng.integers(0, 1 << bits, (height, width)).astype(kind), rng.integers(0, 1 << bits, (2, height, width)).astype(kind)


@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize(("name", "precision"), ENGINES)
def test_engine_computes_luma_and_chroma(
    weights: dict[str, np.ndarray], spec: ModelSpec, scale: int, name: str, precision: str, bits: int
) -> None:
    engine = open_or_skip(spec, engine=name, precision=precision, bits=bits)
    top = (1 << bits) - 1
    for height, width in ((33, 47), (24, 40)):
        luma, chroma = draw(height, width, bits)
        out, call = np.empty((scale * height, scale * width), luma.dtype), Chroma(chroma, np.empty_like(chroma), CONDITION)
        engine.infer(luma, out, (), call)
        expected, expected_chroma = reference(weights, luma / top, chroma / top, CONDITION)
        for got, wanted in ((out, expected), (call.out, expected_chroma)):
            assert np.abs(got * (255 / top) - np.clip(wanted, 0, 1) * 255).max() < TOLERANCE[precision]
    engine.close()


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("model", ["lite", "base"])
def test_int8_is_the_same_on_every_processor(model: str, scale: int) -> None:
    """ONNX Runtime is told not to clip sums; what OpenVINO's instructions add in 16 bits has to fit, even where contrast is highest."""
    luma, chroma = draw(60, 80, 8)
    luma[:30], chroma[:, :30] = luma[:30] // 128 * 255, chroma[:, :30] // 128 * 255
    results = []
    for name in ("openvino", "onnxruntime"):
        engine = open_or_skip(find_model(model, scale), engine=name, precision="int8")
        out, call = np.empty((scale * 60, scale * 80), np.uint8), Chroma(chroma, np.empty_like(chroma), CONDITION)
        engine.infer(luma, out, (), call)
        results.append((out.astype(float), call.out.astype(float)))
    for ours, exact in zip(*results, strict=True):
        assert np.abs(ours - exact).mean() < 0.5  # clipped sums: 4 and more


def test_condition_reaches_the_network(spec: ModelSpec, scale: int) -> None:
    luma, chroma = draw(20, 24, 8)
    engine = open_engine(spec, engine="openvino", device="cpu", precision="f32")
    results = []
    for condition in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0)):
        out = np.empty((scale * 20, scale * 24), np.uint8)
        engine.infer(luma, out, (), Chroma(chroma, np.empty_like(chroma), condition))
        results.append(out)
    assert all(np.abs(results[0].astype(int) - other).mean() > 1 for other in results[1:])


def test_tiles_give_the_whole_picture(spec: ModelSpec, scale: int) -> None:
    luma, chroma = draw(70, 90, 8)
    engine = open_engine(spec, engine="openvino", device="cpu", precision="f32")
    whole, tiled = (np.zeros((scale * 70, scale * 90), np.uint8) for _ in range(2))
    calls = [Chroma(chroma, np.zeros_like(chroma), CONDITION) for _ in range(2)]
    infer_tiled(engine, luma, whole, (), calls[0], radius=spec.receptive_field, limit=10**9)
    infer_tiled(engine, luma, tiled, (), calls[1], radius=spec.receptive_field, limit=900)
    # a sum may be rounded the other way in another place of a vector
    assert np.abs(whole.astype(int) - tiled).max() <= 1
    assert np.abs(calls[0].out.astype(int) - calls[1].out).max() <= 1
    assert tiled.any()


def test_other_tensors_than_described_are_an_error(spec: ModelSpec, tmp_path: Path) -> None:
    text = spec.path.with_suffix(".json")
    text.write_text(text.read_text().replace('"chroma": true', '"chroma": true, "state_shapes": [{"name": "h", "channels": 4}]'))
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(EngineError, match="its description says chroma, condition, h, luma"):
            open_engine(load_spec(text), engine=name, device="cpu")
