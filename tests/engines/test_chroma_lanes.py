"""Lanes of TensorRT and torch with models of luma and chroma: the float64 network of make_chroma, and engines that take over.

TensorRT is the fake of its API, torch runs on the CPU with stand-ins for streams and graphs of CUDA.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from attentive import remembering_model
from fake_device import FakeDevice, NumpyArrays
from fake_tensorrt import GPU, fake_flavour, fake_plan, put_body_for_kernel
from make_chroma import make_weights, reference, write_chroma_model

from streamsr.engines.device_engine import DeviceChroma
from streamsr.engines.engine import Chroma
from streamsr.engines.handover import DeviceHandover
from streamsr.engines.hosted_engine import HostedEngine
from streamsr.engines.plan_cache import PlanCache
from streamsr.engines.tensorrt_engine import TensorRtEngine
from streamsr.models import ModelSpec, find_model, load_spec

torch = pytest.importorskip("torch")
from streamsr.engines import torch_device  # noqa: E402

H, W, CONDITION = 18, 26, (0.4, 0.7)
EXACT = 2e-6  # float32 sums against float64


@pytest.fixture(params=[2, 3])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> ModelSpec:
    return load_spec(write_chroma_model(make_weights(request.param), tmp_path).with_suffix(".json"))


def tensorrt_of(spec: ModelSpec, device: FakeDevice, folder: Path, *shapes: tuple[int, int, int]) -> TensorRtEngine:
    flavour, cache = fake_flavour(device), PlanCache(folder)
    for shape in shapes:
        cache.write(fake_plan(spec, flavour, shape))
    return TensorRtEngine(spec, gpu=GPU, precision="f32", flavour=flavour, arrays=NumpyArrays(device), cache=cache)


@pytest.fixture
def cpu_for_cuda(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What torch's lanes ask of CUDA, on the CPU: a graph is its launches, which replaying does again. Gives what happened."""
    log: list[str] = []

    class Graph:
        def __init__(self) -> None:
            self.launches: list[Any] = []

        def replay(self) -> None:
            log.append("replay")
            for launch in self.launches:
                launch()

        def pool(self) -> int:
            return 1

    class Capture:
        def __init__(self, graph: Graph, **_: Any) -> None:
            self.graph = graph

        def __enter__(self) -> None:
            log.append("capture")
            self.launch = torch_device.TorchLane._launch

            def keep(lane: Any, given: Any, made: Any) -> None:
                self.graph.launches.append(lambda: self.launch(lane, given, made))

            monkeypatch.setattr(torch_device.TorchLane, "_launch", keep)

        def __exit__(self, *_: object) -> None:
            monkeypatch.setattr(torch_device.TorchLane, "_launch", self.launch)

    stream = SimpleNamespace(synchronize=lambda: None, cuda_stream=1)
    for name, value in {
        "Stream": lambda device=None: stream, "ExternalStream": lambda pointer, device=None: stream,
        "current_stream": lambda device=None: stream, "stream": lambda stream: nullcontext(), "device": lambda device: nullcontext(),
        "graph": Capture, "CUDAGraph": Graph,
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, value)
    return log


def draw(n: int, seed: int, *, scale: int, h: int = H, w: int = W) -> tuple[np.ndarray, np.ndarray, DeviceChroma]:
    """luma, room for its result, and chroma with a condition."""
    rng = np.random.default_rng(seed)
    chroma = DeviceChroma(
        rng.random((n, 2, h, w), np.float32), np.full((n, 2, h, w), np.nan, np.float32), np.array(CONDITION, np.float32).reshape(1, 2, 1, 1)
    )
    return rng.random((n, 1, h, w), np.float32), np.full((n, 1, scale * h, scale * w), np.nan, np.float32), chroma


def check(luma: np.ndarray, out: np.ndarray, chroma: DeviceChroma, scale: int) -> None:
    for plane, made, samples, made_chroma in zip(luma, out, chroma.samples, chroma.out, strict=True):
        expected, expected_chroma = reference(make_weights(scale), plane[0], samples, CONDITION)
        np.testing.assert_allclose(made[0], expected, atol=EXACT)
        np.testing.assert_allclose(made_chroma, expected_chroma, atol=EXACT)


@pytest.mark.parametrize("n", [1, 3])
def test_tensorrt_lanes_compute_luma_and_chroma(spec: ModelSpec, tmp_path: Path, n: int) -> None:
    device = FakeDevice()
    engine = tensorrt_of(spec, device, tmp_path / "cache", (n, H, W))
    lanes = [engine.open_lane(n, H, W) for _ in range(2)]
    for number in range(4):
        luma, out, chroma = draw(n, number, scale=spec.scale)
        lanes[number % 2].enqueue(luma, out, chroma=chroma, stream=3)
        assert np.isnan(chroma.out).all()
        device.synchronise(3)
        check(luma, out, chroma, spec.scale)


@pytest.mark.parametrize("n", [1, 3])
def test_torch_lanes_compute_luma_and_chroma(spec: ModelSpec, cpu_for_cuda: list[str], n: int) -> None:
    engine = torch_device.TorchDeviceEngine(spec, device="cpu", precision="f32", is_compiled=False)
    assert engine.has_chroma
    weights = [buffer for buffer in engine.run.buffers() if buffer.dim() == 4]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)
    lane = engine.open_lane(n, H, W)
    luma, out, chroma = draw(n, 0, scale=spec.scale)
    for number in range(3):
        fresh_luma, _, fresh = draw(n, number, scale=spec.scale)
        np.copyto(luma, fresh_luma)
        np.copyto(chroma.samples, fresh.samples)
        lane.enqueue(luma, out, chroma=chroma, stream=3)
        check(luma, out, chroma, spec.scale)
    assert cpu_for_cuda == ["capture", "replay", "replay", "replay"]


@pytest.mark.parametrize("name", ["tensorrt", "torch"])
def test_calls_with_wrong_chroma_are_named(spec: ModelSpec, tmp_path: Path, cpu_for_cuda: list[str], name: str) -> None:
    engine: Any = (
        tensorrt_of(spec, FakeDevice(), tmp_path / "cache", (1, H, W)) if name == "tensorrt"
        else torch_device.TorchDeviceEngine(spec, device="cpu", precision="f32", is_compiled=False)
    )  # fmt: skip
    lane = engine.open_lane(1, H, W)
    luma, out, chroma = draw(1, 0, scale=spec.scale)
    with pytest.raises(ValueError, match="takes chroma, and the call has none"):
        lane.enqueue(luma, out, stream=1)
    for wrong, text in (
        (DeviceChroma(chroma.samples[:, :1], chroma.out, chroma.condition), "chroma is"),
        (DeviceChroma(chroma.samples, chroma.out.astype(np.float16), chroma.condition), "chroma_hr is"),
        (DeviceChroma(chroma.samples, chroma.out, np.zeros((2, 2, 1, 1), np.float32)), "condition is"),
        (DeviceChroma(chroma.samples[..., ::-1], chroma.out, chroma.condition), "chroma has the strides"),
    ):
        with pytest.raises(ValueError, match=text):
            lane.enqueue(luma, out, chroma=wrong, stream=1)


def test_planes_of_the_host_bring_their_chroma(spec: ModelSpec, tmp_path: Path) -> None:
    engine = tensorrt_of(spec, FakeDevice(), tmp_path / "cache", (1, H, W))
    hosted = HostedEngine(engine, engine._arrays, bits=10)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    luma, samples = rng.integers(0, 1024, (H, W)).astype(np.uint16), rng.integers(0, 1024, (2, H, W)).astype(np.uint16)
    out, call = np.zeros((spec.scale * H, spec.scale * W), np.uint16), Chroma(samples, np.zeros_like(samples), CONDITION)
    hosted.infer(luma, out, (), call)
    for got, exact in zip((out, call.out), reference(make_weights(spec.scale), luma / 1023, samples / 1023, CONDITION), strict=True):
        assert np.abs(got - np.clip(exact * 1023, 0, 1023)).max() <= 0.501
    hosted.close()


@pytest.mark.parametrize("part", ["", "tail", "chroma_tail"])
def test_an_engine_takes_over_where_luma_and_chroma_agree(spec: ModelSpec, tmp_path: Path, part: str) -> None:
    device, said = FakeDevice(), list[str]()
    running = tensorrt_of(spec, device, tmp_path / "running", (1, H, W))
    (tmp_path / "other").mkdir()
    weights = make_weights(spec.scale)
    if part:
        weights[f"{part}.bias"] = weights[f"{part}.bias"] + np.float32(0.05)  # 13 codes of 255
    other = load_spec(write_chroma_model(weights, tmp_path / "other").with_suffix(".json"))
    successor = tensorrt_of(other, device, tmp_path / "successor", (1, H, W))
    handover = DeviceHandover(running, lambda size, stop: successor, arrays=running._arrays, successor="tensorrt", say=said.append)
    handover.begin(1, H, W)
    lane = running.open_lane(1, H, W)
    for _ in range(200):
        luma, out, chroma = draw(1, 1, scale=spec.scale)
        lane.enqueue(luma, out, chroma=chroma, stream=2)
        device.synchronise(2)
        before = [array.copy() for array in (luma, out, chroma.samples, chroma.out, chroma.condition)]
        found = handover.check(luma, out, chroma=chroma, stream=2)
        assert all(map(np.array_equal, before, (luma, out, chroma.samples, chroma.out, chroma.condition)))
        if found is not None or said:
            break
    assert (found is successor) == (not part)
    if part:
        assert ("luma by" if part == "tail" else "chroma by") in said[-1]
    handover.close()


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", ["tensorrt", "torch"])
def test_lanes_carry_a_state_beside_chroma(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu_for_cuda: list[str], name: str, n: int
) -> None:
    path, net = remembering_model(tmp_path)
    spec, device = load_spec(path.with_suffix(".json")), FakeDevice()
    put_body_for_kernel(monkeypatch, path, device)
    engine: Any = (
        tensorrt_of(spec, device, tmp_path / "cache", (n, H, W)) if name == "tensorrt"
        else torch_device.TorchDeviceEngine(spec, device="cpu", precision="f32", is_compiled=False)
    )  # fmt: skip
    lane = engine.open_lane(n, H, W)
    assert [tuple(array.shape) for array in lane.new_state()] == [(n, 8, H, W)]
    states = [(np.zeros((n, 8, H, W), np.float32),) for _ in range(2)]
    luma, out, chroma = draw(n, 0, scale=2)
    told = torch.from_numpy(chroma.condition).double().expand(n, 2, H, W)
    memory = (torch.zeros(n, 8, H, W).double(),)
    for number in range(4):
        fresh_luma, _, fresh = draw(n, number, scale=2)
        np.copyto(luma, fresh_luma)
        np.copyto(chroma.samples, fresh.samples)
        lane.enqueue(luma, out, states[number % 2], states[1 - number % 2], chroma, stream=3)
        device.synchronise(3)
        with torch.no_grad():
            made, memory = net(torch.cat([torch.from_numpy(luma).double(), torch.from_numpy(chroma.samples).double(), told], 1), memory)
        np.testing.assert_allclose(out, torch.nn.functional.pixel_shuffle(made[:, :4], 2), atol=5 * EXACT)
        np.testing.assert_allclose(chroma.out, made[:, 4:], atol=5 * EXACT)
        np.testing.assert_allclose(states[1 - number % 2][0], memory[0], atol=5 * EXACT)


def test_the_model_that_ships_is_one_part_for_tensorrt(tmp_path: Path) -> None:
    spec, device = find_model("lite", 2), FakeDevice()
    assert spec.has_chroma
    engine = tensorrt_of(spec, device, tmp_path, (1, H, W))
    luma, out, chroma = draw(1, 0, scale=2)
    engine.open_lane(1, H, W).enqueue(luma, out, chroma=chroma, stream=1)
    device.synchronise(1)
    session = onnxruntime.InferenceSession(onnx.load(spec.path).SerializeToString(), providers=["CPUExecutionProvider"])
    given = {"luma": luma, "chroma": chroma.samples, "condition": chroma.condition}
    for got, expected in zip((out, chroma.out), session.run(["luma_hr", "chroma_hr"], given), strict=True):
        np.testing.assert_allclose(got, expected, atol=EXACT)
