"""The wide last convolution gives what the narrow one gives, and leaves alone what it was not made for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from make_chroma import make_weights, reference, write_chroma_model
from make_model import make_network, write_model
from openvino import opset13 as opset

from streamsr.engines import Chroma, openvino_tail
from streamsr.engines.openvino_engine import OpenVinoEngine
from streamsr.models import ModelSpec, load_spec

SIZES = [(64, 96), (63, 97), (34, 41), (1, 1), (2, 3)]


def open_engine(spec: ModelSpec, precision: str, bits: int = 8) -> OpenVinoEngine:
    return OpenVinoEngine(spec, scale=spec.scale, bits=bits, device="cpu", precision=precision, threads=1, hint="latency")


def channels(engine: OpenVinoEngine) -> int:
    return engine._build(1, 8, 8).outputs[0].shape[-1]


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return load_spec(write_model(make_network(), tmp_path_factory.mktemp("model")).with_suffix(".json"))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_wide_tail_gives_the_narrow_ones_picture(spec: ModelSpec, precision: str, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wide, narrow = open_engine(spec, precision, bits), open_engine(spec, precision, bits)
    assert channels(wide) == 16
    for seed, (height, width) in enumerate(SIZES):
        luma = np.random.default_rng(seed).integers(0, 1 << bits, (height, width)).astype(np.uint8 if bits == 8 else np.uint16)
        given, wanted = (np.zeros((2 * height, 2 * width), luma.dtype) for _ in range(2))
        wide.infer(luma, given)
        with monkeypatch.context() as patch:
            patch.setattr("streamsr.engines.openvino_engine.widen", lambda phases: None)
            assert channels(narrow) == 4
            narrow.infer(luma, wanted)
        difference = np.abs(given.astype(int) - wanted.astype(int))
        # float32 sums in another order: a code that lay halfway may fall to the other side
        assert difference.max() <= 1, (height, width)
        assert np.count_nonzero(difference) <= 1e-3 * difference.size + 1, (height, width)


def test_bf16_keeps_the_narrow_tail(spec: ModelSpec) -> None:
    if not {"BF16", "FP16"} & set(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")):
        pytest.skip("no bf16 on this CPU")
    assert channels(open_engine(spec, "bf16")) == 4


def test_other_scales_keep_the_narrow_tail(tmp_path: Path) -> None:
    assert channels(open_engine(load_spec(write_model(make_network(scale=3), tmp_path).with_suffix(".json")), "f32")) == 9


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_interpolated_luma_is_as_exact_without_a_convolution(tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What bf16 would round; where there is none, float32 runs the graph for it."""
    weights = make_weights(2)
    for name in ("tail", "tail.bias", "chroma_tail", "chroma_tail.bias"):
        weights[name] *= 0  # the interpolation alone
    spec = load_spec(write_chroma_model(weights, tmp_path).with_suffix(".json"))
    if precision == "bf16" and not {"BF16", "FP16"} & set(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")):
        pytest.skip("no bf16 on this CPU")
    if precision == "f32":
        assert channels(open_engine(spec, precision, 10)) == 16
        monkeypatch.setattr("streamsr.engines.openvino_engine.widen", openvino_tail.without_rounding)
    engine = open_engine(spec, precision, 10)
    assert channels(engine) == 4
    for height, width in SIZES:
        planes = np.random.default_rng(height).integers(0, 1024, (3, height, width)).astype(np.uint16)
        luma, chroma = planes[0], planes[1:]
        out, call = np.zeros((2 * height, 2 * width), np.uint16), Chroma(chroma, np.zeros_like(chroma), (0.3, 0.2))
        engine.infer(luma, out, (), call)
        wanted, _ = reference(weights, luma / 1023, chroma / 1023, (0.3, 0.2))
        assert np.abs(out - 1023 * wanted).max() < 0.51


def phases(kernel: int, *, num: int = 4, step: int = 1, residual: bool = True) -> ov.Output:
    luma = opset.parameter([1, 1, 12, 12], np.float32)
    margins = [step * (kernel // 2)] * 2
    tail = opset.convolution(luma, np.ones((num, 1, kernel, kernel), np.float32), [1, 1], margins, margins, [step] * 2)
    tail = opset.add(tail, np.zeros((1, num, 1, 1), np.float32))
    return (opset.add(tail, luma) if residual else tail).output(0)


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_tail_it_was_made_for_is_widened(kernel: int) -> None:
    assert list(openvino_tail.widen(phases(kernel)).shape) == [1, 16, 6, 6]


@pytest.mark.parametrize("other", [phases(1), phases(3, num=9), phases(3, step=2), phases(3, residual=False)])
def test_any_other_tail_is_left_alone(other: ov.Output) -> None:
    assert openvino_tail.widen(other) is None
