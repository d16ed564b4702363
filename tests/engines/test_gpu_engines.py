"""Which engine "auto" is on which machine, what runs until TensorRT does, and what is missing is named with its pip command."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_device import FakeDevice, FakeDeviceEngine, NumpyArrays
from fake_tensorrt import GPU, fake_flavour, fake_plan
from make_model import make_network, write_model
from media import streamsr

from streamsr.commands.option_table import DEFAULTS, run_options
from streamsr.engines import choose_engine, cupy_arrays, distributions, gpu_engines, gpus, tensorrt_engine
from streamsr.engines.gpus import Gpu, find_gpu
from streamsr.engines.handover import Handover
from streamsr.engines.plan_cache import ENVIRONMENT, PlanCache
from streamsr.engines.plan_process import Order, build_in_process
from streamsr.errors import EngineError, UsageError
from streamsr.models import ModelSpec, load_spec
from streamsr.upscaling.upscaler import Upscaler

HOPPER = Gpu(0, "NVIDIA H100 80GB HBM3", "9.0", 80 << 30)
# of PyPI for Windows: nothing in the version tells it from a build for GPUs
CPU_TORCH = "__version__ = '2.13.0'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
ADA = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", 24 << 30)


class Machine:
    """What is installed, and which GPUs there are."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.gpus: tuple[Gpu, ...] = ()
        self.packages = {"onnx", "openvino"}
        self.torch = "__version__ = '2.11.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
        patch.setattr(gpu_engines, "list_gpus", lambda: self.gpus)
        patch.setattr(gpus, "list_gpus", lambda: self.gpus)
        patch.setattr(gpu_engines, "_has", lambda package: package in self.packages)
        patch.setattr(gpu_engines, "_torch_version_file", lambda: self.torch if "torch" in self.packages else "")
        patch.setattr(distributions, "installed_flavours", lambda: [name for name in distributions.FLAVOURS if name in self.packages])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_without_a_gpu_auto_is_the_cpu(machine: Machine) -> None:
    machine.packages |= {"tensorrt", "cupy", "torch"}
    assert choose_engine("auto", "auto") == "openvino"
    assert choose_engine("auto", "cpu") == "openvino"


@pytest.mark.parametrize(
    ("gpu", "packages", "expected"),
    [
        (HOPPER, {"tensorrt", "cupy"}, "cuda"),
        (HOPPER, {"tensorrt_rtx", "cupy"}, "openvino"),  # RTX's does not run there
        (HOPPER, {"tensorrt_rtx", "cupy", "torch"}, "torch"),
        (ADA, {"tensorrt_rtx", "cupy"}, "cuda"),
        (ADA, {"tensorrt_rtx"}, "openvino"),
        (ADA, {"torch"}, "torch"),
        (ADA, set(), "openvino"),
    ],
)
def test_auto_follows_what_is_installed(machine: Machine, gpu: Gpu, packages: set[str], expected: str) -> None:
    machine.gpus, machine.packages = (gpu,), machine.packages | packages
    assert choose_engine("auto", "auto") == expected
    assert choose_engine("auto", "cpu") == "openvino"


def test_torch_without_cuda_is_no_engine_for_a_gpu(machine: Machine) -> None:
    machine.gpus, machine.torch = (ADA,), CPU_TORCH
    machine.packages.add("torch")
    assert choose_engine("auto", "auto") == "openvino"


def test_apple_gpus_are_torchs(machine: Machine) -> None:
    assert choose_engine("auto", "mps") == "torch"


def test_gpu_without_an_engine_names_the_pip_commands(machine: Machine) -> None:
    machine.gpus = (HOPPER,)
    with pytest.raises(EngineError, match=r"H100.*pip install 'streamsr\[cuda12\]'.*streamsr\[torch\]") as caught:
        choose_engine("auto", "cuda:0")
    assert "rtx" not in str(caught.value)
    machine.gpus = (ADA,)
    with pytest.raises(EngineError, match=r"streamsr\[rtx\]"):
        choose_engine("auto", "cuda:0")


def test_gpu_that_is_not_here_names_those_that_are() -> None:
    with pytest.raises(EngineError, match=r"no device 'cuda:3' here\. CUDA devices: cuda:0 \(NVIDIA H100"):
        find_gpu("cuda:3", [HOPPER])
    with pytest.raises(EngineError, match="CUDA devices: none"):
        find_gpu("cuda", [])
    with pytest.raises(UsageError, match="'gpu' is not a CUDA device"):
        find_gpu("gpu", [HOPPER])
    assert find_gpu("auto", [HOPPER]) == find_gpu("cuda", [HOPPER]) == find_gpu("cuda:0", [HOPPER]) == HOPPER


def test_wait_engine_makes_auto_wait_on_a_gpu_alone(machine: Machine) -> None:
    def settled_engine(**given: object) -> str:
        return run_options(DEFAULTS | given, "in.mp4").upscale.engine

    assert settled_engine(wait_engine=True) == "auto"
    machine.gpus, machine.packages = (ADA,), machine.packages | {"tensorrt", "cupy"}
    assert settled_engine(wait_engine=True) == "tensorrt"
    assert settled_engine(engine="torch", wait_engine=True) == "torch"
    assert settled_engine(wait_engine=False) == "auto"


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return load_spec(write_model(make_network(layers=3), tmp_path, int8=False).with_suffix(".json"))


@pytest.fixture
def fake_gpu(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """A machine with TensorRT, on the fake of its API, and no torch for GPUs."""
    pytest.importorskip("onnxruntime")
    machine.gpus, machine.packages = (GPU,), machine.packages | {"tensorrt", "cupy"}
    device = FakeDevice()
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.setattr(tensorrt_engine, "load_flavour", lambda capability: fake_flavour(device))
    for module in (tensorrt_engine, cupy_arrays):
        monkeypatch.setattr(module, "CupyArrays", lambda index: NumpyArrays(device))
    return device


def build_when(may: threading.Event, device: FakeDevice) -> Any:
    """In the place of the process that builds: writes a plan once it may."""

    def build(spec: ModelSpec, shape: tuple[int, int, int], *_: object, stop: threading.Event, **__: object) -> None:
        assert may.wait(30)
        PlanCache().write(fake_plan(spec, fake_flavour(device), shape))

    return build


def test_auto_starts_on_the_cpu_and_goes_over_in_the_middle_of_a_video(
    spec: ModelSpec, fake_gpu: FakeDevice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="streamsr")
    may = threading.Event()
    monkeypatch.setattr(gpu_engines, "build_aside", build_when(may, fake_gpu))
    pictures = [np.random.default_rng(seed).integers(0, 256, (24, 32, 3)).astype(np.uint8) for seed in range(8)]
    with Upscaler(spec.path, engine="onnxruntime", device="cpu", precision="f32") as plain:
        expected = [plain(picture) for picture in pictures]
    large = []
    with Upscaler(spec.path, precision="f32", threads=1) as upscaler:
        assert upscaler.engine == "cuda"
        for index, picture in enumerate(pictures):
            if index == 3:
                assert "tensorrt is being built" in upscaler.reason
                may.set()
                (handover,) = upscaler._cache.engines
                assert isinstance(handover, Handover)
                while handover._succession.sizes[24, 32].status == "building":
                    threading.Event().wait(0.01)
            large.append(upscaler(picture))
        assert upscaler.device == "cuda:0"
        assert "on openvino up to frame 4" in upscaler.reason
    assert len(large) == len(expected)
    for have, want in zip(large, expected, strict=True):
        assert np.abs(have.astype(int) - want).max() <= 3  # bf16 on the CPU, before
    for have, want in zip(large[4:], expected[4:], strict=True):
        assert np.abs(have.astype(int) - want).max() <= 1
    assert "tensorrt takes over from openvino after frame 4" in caplog.text


def test_kept_plan_is_used_at_once(spec: ModelSpec, fake_gpu: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    PlanCache().write(fake_plan(spec, fake_flavour(fake_gpu), (1, 24, 32)))
    monkeypatch.setattr(gpu_engines, "build_aside", None)
    with Upscaler(spec.path, precision="f32") as upscaler:
        upscaler(np.zeros((24, 32, 3), np.uint8))
        (handover,) = upscaler._cache.engines
        assert isinstance(handover, Handover)
        assert handover._running is None
        assert handover.name == "tensorrt"


def test_build_that_fails_leaves_the_video_on_the_cpu(
    spec: ModelSpec, fake_gpu: FakeDevice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="streamsr")
    def build(*_: object, **__: object) -> None:
        raise EngineError("TensorRT cannot build tiny_x2", hint="give it another GPU")

    monkeypatch.setattr(gpu_engines, "build_aside", build)
    with Upscaler(spec.path) as upscaler:
        for _ in range(3):
            upscaler(np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8))
        assert upscaler.device == "cpu"
    said = caplog.text
    assert said.count("does not take over, openvino goes on: it cannot be built: TensorRT cannot build tiny_x2 (give it") == 1


def test_closing_in_the_middle_of_a_build_leaves_no_process(
    spec: ModelSpec, fake_gpu: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="streamsr")
    number = tmp_path / "pid"
    code = f"import os, time; open({str(number)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def build(spec: ModelSpec, shape: tuple[int, int, int], precision: str, gpu: Gpu, *, stop: threading.Event, say: Any) -> None:
        build_in_process(Order.of(spec, shape, precision, gpu), stop=stop, say=say, command=[sys.executable, "-c", code])

    monkeypatch.setattr(gpu_engines, "build_aside", build)
    with Upscaler(spec.path) as upscaler:
        upscaler(np.zeros((24, 32, 3), np.uint8))
        while not (number.is_file() and number.read_text()):
            threading.Event().wait(0.01)
        os.kill(int(number.read_text()), 0)  # it is there
    with pytest.raises(ProcessLookupError):
        os.kill(int(number.read_text()), 0)
    assert "streamsr-succession" not in {thread.name for thread in threading.enumerate()}
    assert caplog.text == ""


def test_engine_command_builds_lists_and_clears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    model = write_model(make_network(layers=3), tmp_path, int8=False)
    sizes = ["--size", "64x48", "--size", "32x32"]
    outcome = streamsr("engine", "build", model, *sizes, "--compute-capability", "8.6", "--compute-capability", "12.0")
    assert outcome.code == 0, outcome.err
    assert len(outcome.out.splitlines()) == len(list((tmp_path / "engines").glob("*.plan"))) == 4
    assert "building tiny_x2 for 64x48 with tensorrt_rtx" in outcome.err
    listed = streamsr("engine", "list")
    assert listed.out.count("tiny_x2") == 4
    assert "4 plans in" in listed.err
    assert streamsr("engine", "clear", "--stale").out == ""
    assert streamsr("engine", "clear", "lite").out == ""
    assert len(streamsr("engine", "clear", "tiny").out.splitlines()) == 4
    assert streamsr("engine", "list").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["build", "--size", "64x48", "--compute-capability", "9.0"], 5, "can only be built on such a GPU"),
        (["build", "--size", "64x48", "--compute-capability", "ada"], 2, "'ada' is no compute capability"),
        (["build", "--size", "64x48", "--device", "cuda:77"], 5, "no device 'cuda:77' here"),
        (["build", "--size", "64x48", "--scale", "7"], 2, "no scale x7"),
        (["build"], 2, "--size"),
        ([], 2, "VERB"),
    ],
)
def test_engine_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, text: str
) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    outcome = streamsr("engine", *arguments)
    assert (outcome.code, text in outcome.err) == (code, True), outcome.err


def test_pipeline_on_the_gpu_takes_a_kept_plan_or_builds_first(
    spec: ModelSpec, fake_gpu: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without torch there is nothing else on the device to start on."""
    built = []

    def build(model: ModelSpec, key: Any, flavour: Any, *, cache: PlanCache, say: Any) -> Any:
        built.append(key.usual)
        cache.write(fake_plan(model, flavour, key.usual))
        return cache.find(key)

    monkeypatch.setattr(tensorrt_engine, "build_plan", build)
    for _ in range(2):
        engine, handover = gpu_engines.open_on_device(spec, (1, 24, 32), precision="f32")
        assert (engine.name, engine.device, handover) == ("tensorrt", "cuda:0", None)
        engine.open_lane(1, 24, 32).close()
        engine.close()
    assert built == [(1, 24, 32)]


def test_pipeline_on_the_gpu_starts_on_torch_and_is_handed_over(
    spec: ModelSpec, fake_gpu: FakeDevice, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.packages.add("torch")
    may, running = threading.Event(), FakeDeviceEngine(fake_gpu, recurrent=False, dtype="float32")
    running.open_lane(1, 24, 32).close()
    monkeypatch.setattr(gpu_engines, "_open_torch", lambda *_, **__: running)
    monkeypatch.setattr(gpu_engines, "build_aside", build_when(may, fake_gpu))
    words: list[str] = []
    engine, handover = gpu_engines.open_on_device(spec, (1, 24, 32), precision="f32", say=words.append)
    assert engine is running
    assert handover is not None
    luma, out = np.zeros((1, 1, 24, 32), np.float32), np.zeros((1, 1, 48, 64), np.float32)
    assert handover.check(luma, out, stream=1) is None
    may.set()
    while handover._succession.sizes[1, 24, 32].status == "building":
        threading.Event().wait(0.01)
    assert handover.check(luma, out + 0.5, stream=1) is None  # another picture than the network makes
    assert "its result differs" in words[0]
    handover.close()


def test_engine_that_does_not_run_on_the_gpu_is_named(spec: ModelSpec, fake_gpu: FakeDevice) -> None:
    with pytest.raises(EngineError, match=r"'openvino' does not run on 'cuda:0'\. Engines that do: tensorrt, torch"):
        gpu_engines.open_on_device(spec, (1, 24, 32), engine="openvino")
