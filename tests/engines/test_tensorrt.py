"""The TensorRT engine on a fake of its API: lanes, states, batches, attention between the parts, and everything that can go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attentive import attentive_model
from fake_device import FakeDevice, NumpyArrays
from fake_tensorrt import GPU, fake_flavour, fake_plan, put_body_for_kernel
from make_model import make_network, write_model
from make_recurrent import write_recurrent

from streamsr.engines import tensorrt_engine, zero_state
from streamsr.engines.device_engine import DeviceMemoryError
from streamsr.engines.distributions import Flavour
from streamsr.engines.hosted_engine import CONCURRENCY, MAX_SIZES, HostedEngine
from streamsr.engines.plan_cache import Plan, PlanCache, write_plan
from streamsr.engines.tensorrt_engine import TensorRtEngine, choose_precision
from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec, load_spec

ort = pytest.importorskip("onnxruntime")
H, W = 24, 32


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def cache(tmp_path: Path) -> PlanCache:
    return PlanCache(tmp_path / "cache")


@pytest.fixture(params=["plain", "recurrent", "attentive"])
def spec(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: FakeDevice) -> ModelSpec:
    if request.param == "plain":
        return load_spec(write_model(make_network(layers=3), tmp_path, int8=False).with_suffix(".json"))
    path = write_recurrent(tmp_path) if request.param == "recurrent" else attentive_model(tmp_path)
    if request.param == "attentive":
        put_body_for_kernel(monkeypatch, path, device)
    return load_spec(path.with_suffix(".json"))


@pytest.fixture
def plain(tmp_path: Path) -> ModelSpec:
    return load_spec(write_model(make_network(layers=3), tmp_path, int8=False).with_suffix(".json"))


def engine_of(spec: ModelSpec, cache: PlanCache, flavour: Flavour, **options: Any) -> TensorRtEngine:
    arrays = NumpyArrays(flavour.trt.device)
    return TensorRtEngine(spec, gpu=GPU, precision="f32", flavour=flavour, arrays=arrays, cache=cache, **options)


class WholeModel:
    """The file in ONNX Runtime, frame after frame."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec, self.session = spec, ort.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])

    def __call__(self, luma: np.ndarray, state: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        names = [self.spec.output, *(f"{s.name}_next" for s in self.spec.states)]
        return self.session.run(names, {self.spec.input: luma} | {s.name: old for s, old in zip(self.spec.states, state, strict=True)})


def test_the_kernel_runs_between_the_parts(tmp_path: Path, cache: PlanCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel itself, built for this machine's CPU (tests/kernels/on_host.py), on the stream and the arrays of a lane."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "kernels"))
    import streamsr_kernels.launch_device
    from on_host import HostDevice, require_compiler

    require_compiler()
    kernels, streams = HostDevice(tmp_path), []

    def open_device(stream: int) -> HostDevice:
        streams.append(stream)
        return kernels

    monkeypatch.setattr(streamsr_kernels.launch_device, "open_device", open_device)
    spec = load_spec(attentive_model(tmp_path).with_suffix(".json"))
    device = ImmediateDevice()
    flavour = fake_flavour(device)
    cache.write(fake_plan(spec, flavour, (2, H, W)))
    lane = engine_of(spec, cache, flavour).open_lane(2, H, W)
    states, whole, rng = [lane.new_state(), lane.new_state()], WholeModel(spec), np.random.default_rng(0)
    expected_state = tuple(np.zeros_like(array) for array in states[0])
    for index in range(3):
        luma, out = rng.random((2, 1, H, W), np.float32), np.empty((2, 1, 2 * H, 2 * W), np.float32)
        lane.enqueue(luma, out, states[index % 2], states[1 - index % 2], stream=7)
        expected, *following = whole(luma, expected_state)
        expected_state = tuple(following)
        np.testing.assert_allclose(out, expected, atol=1e-5)
        np.testing.assert_allclose(states[1 - index % 2][0], following[0], atol=1e-5)
    assert streams == [7] * 6


class ImmediateDevice(FakeDevice):
    """Runs work when it is launched, as the kernels' host build does."""

    def launch(self, stream: int, what: str, work: Callable[[], None]) -> None:
        work()


@pytest.mark.parametrize("n", [1, 2])
def test_frames_over_two_lanes_are_the_whole_model(spec: ModelSpec, cache: PlanCache, device: FakeDevice, n: int) -> None:
    flavour = fake_flavour(device)
    cache.write(fake_plan(spec, flavour, (n, H, W)))
    engine = engine_of(spec, cache, flavour)
    assert engine.has_plan(n, H, W)
    assert not engine.has_plan(n, H, W + 2)
    lanes = [engine.open_lane(n, H, W) for _ in range(2)]
    states = [lanes[0].new_state(), lanes[0].new_state()]
    whole, expected_state = WholeModel(spec), tuple(np.zeros_like(array) for array in states[0])
    rng = np.random.default_rng(0)
    for index in range(4):
        luma, out = rng.random((n, 1, H, W), np.float32), np.full((n, 1, 2 * H, 2 * W), np.nan, np.float32)
        lanes[index % 2].enqueue(luma, out, states[index % 2], states[1 - index % 2], stream=5)
        device.synchronise(5)
        expected, *following = whole(luma, expected_state)
        expected_state = tuple(following)
        np.testing.assert_allclose(out, expected, atol=2e-6)
        for array, wanted in zip(states[1 - index % 2], following, strict=True):
            np.testing.assert_allclose(array, wanted, atol=2e-6)
    for lane in lanes:
        lane.close()
    engine.close()


def test_planes_of_the_host_go_through_lanes_of_their_own(spec: ModelSpec, cache: PlanCache, device: FakeDevice) -> None:
    flavour = fake_flavour(device)
    cache.write(fake_plan(spec, flavour, (1, H, W)))
    engine = engine_of(spec, cache, flavour)
    hosted = HostedEngine(engine, engine._arrays, bits=10)  # type: ignore[arg-type]
    state = zero_state(spec, H, W)
    whole, expected_state = WholeModel(spec), tuple(array[None] for array in state)
    rng = np.random.default_rng(0)
    for _ in range(3):
        luma, out = rng.integers(0, 1024, (H, W)).astype(np.uint16), np.zeros((2 * H, 2 * W), np.uint16)
        state = hosted.infer(luma, out, state)
        expected, *following = whole((luma / np.float32(1023))[None, None], expected_state)
        expected_state = tuple(following)
        assert np.abs(out - np.clip(expected[0, 0] * 1023, 0, 1023)).max() <= 0.501
        for array, wanted in zip(state, following, strict=True):
            np.testing.assert_allclose(array, wanted[0], atol=2e-6)
    hosted.close()


def test_threads_share_a_hosted_engine(plain: ModelSpec, cache: PlanCache, device: FakeDevice) -> None:
    flavour = fake_flavour(device)
    for height in range(20, 20 + 2 * (MAX_SIZES + 2), 2):
        cache.write(fake_plan(plain, flavour, (1, height, W)))
    engine = engine_of(plain, cache, flavour)
    hosted = HostedEngine(engine, engine._arrays, bits=8)  # type: ignore[arg-type]
    whole, wrong = WholeModel(plain), []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            height = 20 + 2 * int(rng.integers(0, MAX_SIZES + 2))
            luma = rng.integers(0, 256, (height, W)).astype(np.uint8)
            out = np.zeros((2 * height, 2 * W), np.uint8)
            hosted.infer(luma, out)
            exact = np.clip(whole((luma / np.float32(255))[None, None], ())[0][0, 0] * 255, 0, 255)
            wrong.append(float(np.abs(out - exact).max()))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2 * CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 40 * len(threads)
    assert max(wrong) <= 0.501
    assert len(hosted._sizes) <= MAX_SIZES + 2 * CONCURRENCY
    hosted.close()


def test_dynamic_plan_serves_smaller_planes_but_its_own_comes_first(plain: ModelSpec, cache: PlanCache, device: FakeDevice) -> None:
    flavour = fake_flavour(device)
    cache.write(fake_plan(plain, flavour, (2, 64, 64), is_dynamic=True))
    own = cache.write(fake_plan(plain, flavour, (1, H, W)))
    engine = engine_of(plain, cache, flavour)
    assert engine._kept_keys((1, H, W))[0].file_name == own.name
    for shape in ((1, 17, 40), (2, 64, 64)):
        n, h, w = shape
        luma, out = np.random.default_rng(1).random((n, 1, h, w), np.float32), np.empty((n, 1, 2 * h, 2 * w), np.float32)
        engine.open_lane(*shape).enqueue(luma, out, stream=1)
        device.synchronise(1)
        np.testing.assert_allclose(out, WholeModel(plain)(luma, ())[0], atol=2e-6)


@pytest.mark.parametrize("damage", ["checksum", "refused"])
def test_damaged_plan_is_built_again(
    plain: ModelSpec, cache: PlanCache, device: FakeDevice, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    flavour = fake_flavour(device)
    plan = fake_plan(plain, flavour, (1, H, W))
    path = cache.write(plan)
    if damage == "checksum":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        flavour.trt.refused = plan.steps[0].data  # type: ignore[union-attr]
    words: list[str] = []

    def build(spec: ModelSpec, key: Any, *_: object, **__: object) -> Plan:
        assert key == plan.key
        flavour.trt.refused = b""
        cache.write(plan)
        return plan

    monkeypatch.setattr(tensorrt_engine, "build_plan", build)
    engine_of(plain, cache, flavour, say=words.append).open_lane(1, H, W)
    assert len(words) == 1
    assert "It is built again." in words[0]
    assert cache.find(plan.key) == plan


def test_missing_plan_is_built_for_exactly_this_shape(
    plain: ModelSpec, cache: PlanCache, device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    flavour, built = fake_flavour(device), []

    def build(spec: ModelSpec, key: Any, *_: object, **__: object) -> Plan:
        built.append(key)
        return fake_plan(spec, flavour, key.usual)

    monkeypatch.setattr(tensorrt_engine, "build_plan", build)
    engine = engine_of(plain, cache, flavour)
    engine.open_lane(1, H, W)
    engine.open_lane(1, H, W)
    engine.open_lane(2, H, W)
    assert [(key.smallest, key.largest, key.gpu, key.capability) for key in built] == [
        ((1, H, W), (1, H, W), GPU.name, "8.9"), ((2, H, W), (2, H, W), GPU.name, "8.9"),
    ]  # fmt: skip


def test_exported_plan_beside_the_model_is_taken(plain: ModelSpec, cache: PlanCache, device: FakeDevice) -> None:
    flavour = fake_flavour(device)
    description = plain.path.with_suffix(".json")
    card = json.loads(description.read_text()) | {"tensorrt": ["gone.plan", "tiny_x2.plan"]}
    description.write_text(json.dumps(card))
    write_plan(plain.path.parent / "tiny_x2.plan", fake_plan(plain, flavour, (1, H, W)))
    words: list[str] = []
    engine = engine_of(load_spec(description), cache, flavour, say=words.append)
    assert engine.has_plan(1, H, W)
    assert not engine.has_plan(2, H, W)
    luma, out = np.random.default_rng(1).random((1, 1, H, W), np.float32), np.empty((1, 1, 2 * H, 2 * W), np.float32)
    engine.open_lane(1, H, W).enqueue(luma, out, stream=1)
    device.synchronise(1)
    np.testing.assert_allclose(out, WholeModel(plain)(luma, ())[0], atol=2e-6)
    assert not list(cache.entries())
    assert len(words) == 1
    assert "gone.plan came with the model, but cannot be used" in words[0]


def test_a_full_device_a_failing_launch_and_a_wrong_batch_say_so(plain: ModelSpec, cache: PlanCache, device: FakeDevice) -> None:
    flavour = fake_flavour(device, room=1)
    cache.write(fake_plan(plain, flavour, (1, H, W)))
    engine = engine_of(plain, cache, flavour)
    lane = engine.open_lane(1, H, W)
    with pytest.raises(DeviceMemoryError, match="no room for 1 planes of 32x24"):
        engine.open_lane(1, H, W)
    flavour.trt.fails = True
    with pytest.raises(EngineError, match="TensorRT failed"):
        lane.enqueue(np.zeros((1, 1, H, W), np.float32), np.zeros((1, 1, 2 * H, 2 * W), np.float32), stream=1)
    with pytest.raises(UsageError, match="1 to 16"):
        engine.open_lane(17, H, W)


def test_precision_follows_the_depth() -> None:
    assert choose_precision("auto", 8)[0] == choose_precision("auto", 10)[0] == "f16"
    assert choose_precision("auto", 12)[0] == "f32"
    assert choose_precision("f32", 8)[0] == "f32"
    with pytest.raises(EngineError, match=r"cannot run int8 here\. Precisions that work: f16, f32"):
        choose_precision("int8", 8)
