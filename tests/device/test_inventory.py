"""The GPUs of a machine, with packages that stand for pycuda and CuPy, and how files and streams are dealt to them."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from media import make_clip, streamsr

from streamsr import doctor
from streamsr.device import device_selection, inventory, nvenc
from streamsr.device.device_selection import deal, find_devices, gpu_index, settle_codecs
from streamsr.device.inventory import GpuFacts, inspect_gpus
from streamsr.engines.gpus import Gpu
from streamsr.errors import EngineError
from streamsr.jobs.worker_pool import count_workers, share_out
from streamsr.options import EncoderOptions, Nvenc, SourceOptions, UpscaleOptions

GIB = 2**30
TWO = [Gpu(0, "NVIDIA A", "8.9", 24 * GIB), Gpu(1, "NVIDIA B", "9.0", 80 * GIB)]


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts modules in place of those that are not installed here."""
    here: dict[str, Any] = {}
    find = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        return here.get(name) if name in ("pycuda", "cupy") else find(name, *rest)

    def add(name: str, **modules: Any) -> None:
        here[name] = object()
        for dotted, module in modules.items():
            monkeypatch.setitem(sys.modules, dotted.replace("__", "."), module)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return add


def fake_cupy(**changes: Any) -> Any:
    class Device:
        def __init__(self, index: int) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    facts = {"name": b"NVIDIA L4", "major": 8, "minor": 9, "multiProcessorCount": 58, "asyncEngineCount": 2}
    runtime = SimpleNamespace(
        getDeviceCount=lambda: 1, getDeviceProperties=lambda index: facts, memGetInfo=lambda: (20 * GIB, 22 * GIB),
        driverGetVersion=lambda: 12080,
    )  # fmt: skip
    vars(runtime).update(changes)
    return SimpleNamespace(cuda=SimpleNamespace(Device=Device, runtime=runtime))


def fake_pycuda() -> Any:
    names = SimpleNamespace(MULTIPROCESSOR_COUNT="sm", ASYNC_ENGINE_COUNT="copies")
    context = SimpleNamespace(push=lambda: None, pop=lambda: None)

    class Device:
        def __init__(self, index: int) -> None: ...
        @staticmethod
        def count() -> int:
            return 1

        def name(self) -> str:
            return "NVIDIA L4"

        def get_attributes(self) -> dict[str, int]:
            return {"sm": 58, "copies": 2}

        def compute_capability(self) -> tuple[int, int]:
            return 8, 9

        def retain_primary_context(self) -> Any:
            return context

    return SimpleNamespace(init=lambda: None, Device=Device, mem_get_info=lambda: (20 * GIB, 22 * GIB), get_driver_version=lambda: 12080,
                           device_attribute=names)  # fmt: skip


def test_pycuda_is_asked_first_and_cupy_says_the_same(packages: Any) -> None:
    packages("cupy", cupy=fake_cupy())
    (by_cupy,) = inspect_gpus()
    driver = fake_pycuda()
    packages("pycuda", pycuda=SimpleNamespace(driver=driver), pycuda__driver=driver)
    (by_pycuda,) = inspect_gpus()
    assert (by_cupy.asked, by_pycuda.asked) == ("CuPy", "pycuda")
    assert by_cupy.words.replace("CuPy", "pycuda") == by_pycuda.words
    assert by_pycuda.words == (
        "NVIDIA L4, compute capability 8.9, 22.0 GiB, 20.0 free, 58 multiprocessors, 2 copy engines, driver for CUDA 12.8 (by pycuda)"
    )


def test_a_package_that_does_not_start_is_passed_over(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("no driver")

    packages("cupy", cupy=fake_cupy(getDeviceCount=fail))
    monkeypatch.setattr(inventory, "list_gpus", lambda: tuple(TWO))
    assert [facts.words for facts in inspect_gpus()] == [
        "NVIDIA A, compute capability 8.9, 24.0 GiB (by the driver)", "NVIDIA B, compute capability 9.0, 80.0 GiB (by the driver)"
    ]  # fmt: skip


def test_doctor_names_each_gpu_and_what_it_codes(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    packages("cupy", cupy=fake_cupy())
    monkeypatch.setattr(doctor, "open_device", lambda index: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(inventory, "find_encoders", lambda index: (Nvenc("h264_nvenc", 8), Nvenc("hevc_nvenc", 8), Nvenc("hevc_nvenc", 10)))
    found = {finding.name: finding for finding in doctor.examine() if finding.kind == "machine"}
    assert found["cuda:0"].ok
    assert "NVIDIA L4" in found["cuda:0"].words
    assert "NVENC has h264_nvenc (8 bits), hevc_nvenc (8 and 10 bits)" in found["cuda:0 codecs"].words
    assert "NVDEC" in found["cuda:0 codecs"].words


def test_doctor_says_what_frames_on_a_gpu_need(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "list_gpus", lambda: tuple(TWO))
    found = {finding.name: finding for finding in doctor.examine()}
    assert not found["frames on a GPU"].ok
    assert "streamsr[cuda13]" in (found["frames on a GPU"].command or "")


def test_doctor_without_a_gpu_says_that_the_cpu_works(packages: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inventory, "list_gpus", tuple)
    found = {finding.name: finding for finding in doctor.examine()}
    assert "runs on the CPU" in found["gpu"].words
    assert found["gpu"].command is None


@pytest.mark.parametrize(("device", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:12", 12), ("cpu", None), ("auto", None), ("gpu.0", None)])
def test_names_of_gpus(device: str, index: int | None) -> None:
    assert gpu_index(device) == index


def test_all_gpus_are_those_that_are_here() -> None:
    assert find_devices(UpscaleOptions(device="cuda:all"), gpus=TWO) == ["cuda:0", "cuda:1"]
    assert find_devices(UpscaleOptions(device="cuda:all"), gpus=TWO[:1]) == ["cuda:0"]
    with pytest.raises(EngineError, match="no NVIDIA GPU"):
        find_devices(UpscaleOptions(device="cuda:all"), gpus=[])


def test_auto_is_the_cpu_unless_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_selection, "has_cupy", lambda: True)
    monkeypatch.setattr(device_selection, "choose_for_gpu", lambda device: "torch")
    assert find_devices(UpscaleOptions(device="auto"), gpus=TWO) == ["cuda:0"]
    assert find_devices(UpscaleOptions(device="auto"), gpus=[]) == ["auto"]
    assert find_devices(UpscaleOptions(device="auto", engine="openvino"), gpus=TWO) == ["auto"]
    assert find_devices(UpscaleOptions(device="auto", model="resize"), gpus=TWO) == ["auto"]
    monkeypatch.setattr(device_selection, "choose_for_gpu", lambda device: None)
    assert find_devices(UpscaleOptions(device="auto"), gpus=TWO) == ["auto"]
    monkeypatch.setattr(device_selection, "has_cupy", lambda: False)
    assert find_devices(UpscaleOptions(device="auto"), gpus=TWO) == ["auto"]


def test_decoder_and_encoder_follow_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_selection, "has_cupy", lambda: True)
    monkeypatch.setattr(device_selection, "find_encoders", lambda index: (Nvenc("h264_nvenc", 8),) if index == 1 else ())
    source, encode = settle_codecs(UpscaleOptions(device="cuda:1"), SourceOptions(), EncoderOptions())
    assert (source.gpu, encode.gpu, encode.nvenc) == (1, 1, (("h264_nvenc", 8),))
    source, encode = settle_codecs(UpscaleOptions(device="cuda:0"), SourceOptions(), EncoderOptions())
    assert (source.gpu, encode.gpu, encode.nvenc) == (0, 0, ())
    for options in ({"device": "cpu"}, {"engine": "openvino"}, {"model": "resize"}):
        upscale = UpscaleOptions(**({"device": "cuda:1"} | options))
        assert settle_codecs(upscale, SourceOptions(), EncoderOptions()) == (SourceOptions(), EncoderOptions())


def test_segments_of_a_file_are_dealt_to_all_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from streamsr.io.source import Source
    from streamsr.jobs.eligibility import make_spec
    from streamsr.options import JobOptions, RunOptions
    from streamsr.upscaling.upscaler import Upscaler

    monkeypatch.setattr(device_selection, "has_cupy", lambda: True)
    monkeypatch.setattr(device_selection, "find_encoders", lambda index: (Nvenc("h264_nvenc", 8),) if index == 1 else ())
    clip = make_clip(tmp_path / "in.mp4", num_frames=60)
    devices = find_devices(UpscaleOptions(device="cuda:all"), gpus=TWO)
    options = RunOptions(UpscaleOptions(threads=1), job=JobOptions(segment_seconds=0.5))
    with Source(clip) as source, Upscaler("lite", device="cpu") as upscaler:
        spec = make_spec(source, upscaler, options, target=str(tmp_path / "out.mp4"), folder=str(tmp_path), devices=devices)
    spec = replace(spec, upscale=replace(spec.upscale, engine="torch"))
    assert count_workers("auto", devices) == 2
    shares = [share_out(spec, number, 4)[0] for number in range(4)]
    assert [share.upscale.device for share in shares] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert [share.source.gpu for share in shares] == [0, 1, 0, 1]
    assert [(share.encode.gpu, share.encode.nvenc) for share in shares][:2] == [(0, ()), (1, (("h264_nvenc", 8),))]


@pytest.mark.parametrize(("engines", "number"), [(0, 1), (1, 1), (2, 2), (4, 2)])  # 0: the driver does not say
def test_a_gpu_with_several_encoders_makes_two_segments_at_a_time(monkeypatch: pytest.MonkeyPatch, engines: int, number: int) -> None:
    """How the number is asked: test_nvenc_driver.py."""
    monkeypatch.setattr(nvenc, "list_gpus", lambda: tuple(Gpu(index, "NVIDIA A", "8.9", 24 * GIB) for index in range(2)))
    monkeypatch.setattr(nvenc, "count_engines", lambda gpu: engines)
    assert count_workers("auto", ["cuda:0"]) == number
    assert count_workers("auto", ["cuda"]) == number
    assert count_workers("auto", ["cuda:0", "cuda:1"]) == 2 * number
    assert count_workers("auto", ["cuda:1", "cuda:7"]) == 2  # one that is not here


@pytest.mark.parametrize("problem", [None, EngineError("cuda:0: the driver is older than CuPy's CUDA.", hint="update the driver")])
def test_doctor_says_whether_frames_can_be_on_the_gpu(monkeypatch: pytest.MonkeyPatch, problem: EngineError | None) -> None:
    """CuPy may be installed and not start."""
    opened = []

    def open_device(index: int) -> Any:
        if problem is not None:
            raise problem
        opened.append(index)
        return SimpleNamespace(close=lambda: opened.append("closed"))

    monkeypatch.setattr(doctor, "has_cupy", lambda: True)
    monkeypatch.setattr(doctor, "open_device", open_device)
    finding = doctor._frames(1)
    assert finding.ok == (problem is None)
    assert opened == ([1, "closed"] if problem is None else [])
    assert (finding.words, finding.command) == (
        ("CuPy runs our kernels on cuda:1", None) if problem is None else (problem.message, "update the driver")
    )


def test_streams_go_to_the_gpu_with_the_fewest() -> None:
    devices = ["cuda:0", "cuda:1", "cuda:2"]
    taken: list[str] = []
    for _ in range(7):
        taken.append(deal(devices, taken))
    assert taken == [*devices, *devices, "cuda:0"]
    assert deal(devices, ["cuda:0", "cuda:1", "cuda:1", "cuda:2", "cuda:2"]) == "cuda:0"
    assert deal(devices, ["cuda:0", "cpu"]) == "cuda:1"


def test_all_gpus_where_there_is_none_is_an_error_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_selection, "list_gpus", tuple)
    outcome = streamsr("run", make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", "--device", "cuda:all")
    assert outcome.code == 5
    assert "no NVIDIA GPU" in outcome.err


def test_an_encoder_that_does_not_open_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvenc, "_found", {})
    busy = True
    monkeypatch.setattr(nvenc, "opens", lambda name, gpu, bits: not busy and (name, bits) == ("hevc_nvenc", 8))
    assert nvenc.find_encoders(41) == ()
    busy = False  # what failed is tried again
    assert nvenc.find_encoders(41) == (("hevc_nvenc", 8),)


def test_facts_that_nobody_knows_are_left_out() -> None:
    assert GpuFacts(0, "X", "7.5", 8 * GIB).words == "X, compute capability 7.5, 8.0 GiB (by the driver)"
