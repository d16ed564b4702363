"""The engines on a real GPU, against the file on the CPU, in ONNX Runtime or, where that is missing, in float32 by torch: lanes,
streams, states, graphs, handover. With torch and CuPy alone a shipped model is run; with onnx also models with states."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import make_clip, streamsr, times

from streamsr.engines import open_engine, zero_state
from streamsr.engines.device_engine import DeviceEngine
from streamsr.engines.gpu_engines import has_tensorrt, has_torch_for_gpus, open_on_device
from streamsr.engines.gpus import Gpu
from streamsr.engines.plan_cache import ENVIRONMENT, PlanCache
from streamsr.models import ModelSpec, find_model, load_spec

pytestmark = pytest.mark.gpu
cupy = pytest.importorskip("cupy")
H, W = 90, 160
# largest difference of luma in [0, 1] and of states after five frames, on top of the planes' own rounding
TOLERANCE = {"f16": 8e-3, "f32": 2e-4}


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all tests of this file: a plan takes seconds to minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=["shipped", "recurrent", "attentive"])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    if request.param == "shipped":
        return find_model("lite", 2)
    pytest.importorskip("onnx")
    from attentive import attentive_model
    from make_recurrent import write_recurrent

    write = write_recurrent if request.param == "recurrent" else attentive_model
    return load_spec(write(tmp_path_factory.mktemp("model")).with_suffix(".json"))


def open_reference(spec: ModelSpec) -> Callable[[list[str], dict[str, np.ndarray]], list[np.ndarray]]:
    """(names of outputs, inputs) -> those outputs, in float32 on the CPU."""
    try:
        import onnxruntime
    except ImportError:
        torch = pytest.importorskip("torch")
        from streamsr.engines.torch_engine import load_network

        network = load_network(spec, "f32")

        def run(names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            with torch.inference_mode():
                made = network(*(torch.from_numpy(given[name]) for name in network.inputs))
            return [made[network.outputs.index(name)].numpy() for name in names]

        return run
    session = onnxruntime.InferenceSession(spec.read(), providers=["CPUExecutionProvider"])
    return lambda names, given: session.run(names, given)


@pytest.fixture(params=["tensorrt", "torch"])
def engine(request: pytest.FixtureRequest, gpu: Gpu) -> str:
    if request.param == "tensorrt" and not has_tensorrt(gpu):
        pytest.skip("no TensorRT for this GPU, or no onnx")
    if request.param == "torch" and not has_torch_for_gpus():
        pytest.skip("no torch for GPUs")
    return str(request.param)


class Frames:
    """Random frames through the file on the CPU: luma, the result, the next state."""

    def __init__(self, spec: ModelSpec, n: int, h: int = H, w: int = W) -> None:
        self.spec, self.run = spec, open_reference(spec)
        self.rng, self.shape = np.random.default_rng(0), (n, 1, h, w)
        self.state = [np.zeros((n, s.channels, s.scale * h, s.scale * w), np.float32) for s in spec.states]

    def __call__(self) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        luma = self.rng.random(self.shape, np.float32)
        names = [self.spec.output, *(f"{s.name}_next" for s in self.spec.states)]
        given = {self.spec.input: luma} | {s.name: old for s, old in zip(self.spec.states, self.state, strict=True)}
        luma_hr, *self.state = self.run(names, given)
        return luma, luma_hr, self.state


def open_one(spec: ModelSpec, engine: str, precision: str, n: int = 1) -> DeviceEngine:
    opened, handover = open_on_device(spec, (n, H, W), engine=engine, precision=precision)  # type: ignore[arg-type]
    assert handover is None
    assert (opened.name, opened.precision) == (engine, precision)
    return opened


def largest(device_array: Any, expected: np.ndarray) -> float:
    return float(np.abs(cupy.asnumpy(device_array).astype(np.float32) - expected).max())


@pytest.mark.parametrize(("precision", "n"), [("f16", 1), ("f32", 1), ("f16", 2)])
def test_lanes_on_two_streams_follow_the_file(spec: ModelSpec, engine: str, precision: str, n: int) -> None:
    opened = open_one(spec, engine, precision, n)
    lanes, streams = [opened.open_lane(n, H, W) for _ in range(2)], [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    states = [tuple(map(cupy.asarray, lanes[0].new_state())) for _ in range(2)]
    frames = Frames(spec, n)
    for index in range(5):
        luma, luma_hr, following = frames()
        stream = streams[index % 2]
        given = cupy.asarray(luma.astype(opened.dtype))
        out = cupy.full((n, 1, 2 * H, 2 * W), cupy.nan, opened.dtype)
        cupy.cuda.get_current_stream().synchronize()
        lanes[index % 2].enqueue(given, out, states[index % 2], states[1 - index % 2], stream=stream.ptr)
        stream.synchronize()
        assert largest(out, luma_hr) <= TOLERANCE[precision]
        for array, wanted in zip(states[1 - index % 2], following, strict=True):
            assert largest(array, wanted) <= TOLERANCE[precision] * max(1.0, float(np.abs(wanted).max()))
    for lane in lanes:
        lane.close()
    opened.close()


def test_capturable_lanes_can_be_captured(spec: ModelSpec, engine: str) -> None:
    opened = open_one(spec, engine, "f16")
    lane, stream = opened.open_lane(1, H, W), cupy.cuda.Stream(non_blocking=True)
    if not lane.is_capturable:
        pytest.skip(f"lanes of {engine} hold graphs of their own")
    old, new = lane.new_state(), lane.new_state()
    given, out = cupy.zeros((1, 1, H, W), cupy.float16), cupy.zeros((1, 1, 2 * H, 2 * W), cupy.float16)
    cupy.cuda.get_current_stream().synchronize()
    lane.enqueue(given, out, old, new, stream=stream.ptr)
    stream.synchronize()
    with stream:
        stream.begin_capture()
        lane.enqueue(given, out, old, new, stream=stream.ptr)
        graph = stream.end_capture()
    frames = Frames(spec, 1)
    for _ in range(2):
        luma, luma_hr, _ = frames()
        frames.state = [np.zeros_like(array) for array in frames.state]  # the graph reads the first state each time
        given.set(luma.astype(np.float16))
        cupy.cuda.get_current_stream().synchronize()
        graph.launch(stream)
        stream.synchronize()
        assert largest(out, luma_hr) <= TOLERANCE["f16"]


def test_planes_of_the_host_follow_the_file(spec: ModelSpec, engine: str) -> None:
    opened = open_engine(spec, engine=engine, device="cuda:0", bits=8)
    frames, state = Frames(spec, 1), zero_state(spec, H, W)
    for _ in range(3):
        luma, _, _ = frames()
        codes = np.rint(luma[0, 0] * 255).astype(np.uint8)
        given = {spec.input: (codes / np.float32(255))[None, None]}
        given |= {s.name: array[None] for s, array in zip(spec.states, state, strict=True)}
        (exact,) = frames.run([spec.output], given)
        out = np.empty((2 * H, 2 * W), np.uint8)
        state = opened.infer(codes, out, state)
        assert np.abs(out - np.clip(exact[0, 0] * 255, 0, 255)).max() <= 0.5 + 255 * TOLERANCE["f16"]
    opened.close()


def test_auto_goes_over_to_tensorrt_while_frames_run(spec: ModelSpec, gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_tensorrt(gpu):
        pytest.skip("no TensorRT for this GPU, or no onnx")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    opened = open_engine(spec, engine="auto", device="cuda:0")
    rng, state, names = np.random.default_rng(0), zero_state(spec, H, W), set()
    ends = time.monotonic() + 300
    while opened.name != "tensorrt":
        assert time.monotonic() < ends
        luma, out = rng.integers(0, 256, (H, W)).astype(np.uint8), np.zeros((2 * H, 2 * W), np.uint8)
        state = opened.infer(luma, out, state)
        names.add(opened.name)
        assert out.any()
    assert len(names) == 2
    opened.close()
    assert len(list(PlanCache().entries())) == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "streamsr-succession"]


def test_run_on_the_gpu_keeps_every_frame(spec: ModelSpec, engine: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", size="160x90", num_frames=30)
    options = ["--model", spec.path, "--engine", engine, "--device", "cuda:0", "--encoder", "ffv1"]
    outcome = streamsr("run", clip, tmp_path / "out.mkv", *options)
    assert outcome.code == 0, outcome.err
    assert "account balanced" in outcome.err
    assert times(tmp_path / "out.mkv") == times(clip)
