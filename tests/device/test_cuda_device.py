"""CudaDevice as it is, on a CuPy, a driver and an FFmpeg that hold it to their rules: contexts, streams, memory, errors."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import streamsr_kernels.launch_device
from both import assert_same, make_frames, on_cpu
from driver import BLOCKING_SYNC, Driver, FfmpegAccel, FfmpegCudaContext, incompatible
from networks import SimNetwork
from sim_cupy import FACE, make_cupy
from sim_kernels import CpuKernels
from sim_memory import HazardError
from simulation import SimDevice
from surfaces import Nvenc, Surface

from streamsr import gpu_context
from streamsr.device import cuda_device, inventory, nvenc
from streamsr.device.device_upscaler import DeviceUpscaler
from streamsr.engines.device_engine import DeviceMemoryError
from streamsr.errors import EngineError
from streamsr.io import nvdec
from streamsr.options import UpscaleOptions

Open = Callable[..., cuda_device.CudaDevice]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(2)
    monkeypatch.setattr(gpu_context, "load_driver", lambda: driver)
    monkeypatch.setattr(gpu_context, "_held", set())
    for module, name, stand in (
        (nvenc, "HWAccel", FfmpegAccel), (inventory, "HWAccel", FfmpegAccel), (nvdec, "HWAccel", FfmpegAccel),
        (cuda_device, "CudaContext", FfmpegCudaContext),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, stand)
        stand.driver = driver  # type: ignore[attr-defined]
    return driver


@pytest.fixture
def sims() -> list[SimDevice]:
    sims = [SimDevice(), SimDevice(seed=1)]
    sims[1].index = 1
    return sims


@pytest.fixture
def open_device(monkeypatch: pytest.MonkeyPatch, driver: Driver, sims: list[SimDevice]) -> Iterator[Open]:
    """Opens GPU `index`; options: of `make_cupy`."""
    cached = (streamsr_kernels.launch_device.import_cupy, streamsr_kernels.launch_device._compiled)

    def open_device(index: int = 0, **options: Any) -> cuda_device.CudaDevice:
        cupy = make_cupy(sims, driver, **options)
        monkeypatch.setitem(sys.modules, "cupy", cupy)

        class Pinned:
            def allocate(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
                return cupy.sides.current.pin(shape, dtype)  # type: ignore[no-any-return]

        monkeypatch.setattr(cuda_device, "open_pinned", lambda number: Pinned())
        from_dlpack = av.VideoFrame.from_dlpack

        def make_frame(planes: Any, *, format: str, cuda_context: FfmpegCudaContext | None = None) -> av.VideoFrame:
            if cuda_context is not None:
                context = cuda_context.open()
                assert context is driver.primary.get(index), "not the context that the memory is in"
            return from_dlpack(planes, format=format)

        monkeypatch.setattr(cuda_device, "make_cuda_frame", make_frame)
        device = cuda_device.CudaDevice(index)
        device.kernels = CpuKernels(sims[index])
        return device

    for each in cached:
        each.cache_clear()
    yield open_device
    for each in cached:
        each.cache_clear()


# contexts


def test_the_context_gets_ffmpegs_flags_before_anything_opens_it(driver: Driver, open_device: Open) -> None:
    open_device(1)
    assert driver.primary[1].flags == BLOCKING_SYNC
    assert 0 not in driver.primary
    assert driver.open_by_ffmpeg(1, {"primary_ctx": "1"}) is driver.primary[1]


@pytest.mark.parametrize("flags", [0, 8, BLOCKING_SYNC])
def test_a_context_that_another_library_opened_is_ffmpegs_too(driver: Driver, open_device: Open, flags: int) -> None:
    torch = driver.retain(0, flags)
    with gpu_context.ffmpeg_device(0) as options:
        assert driver.open_by_ffmpeg(0, options) is torch
    assert not driver.current
    device = open_device(0)
    with gpu_context.ffmpeg_device(0) as options:
        assert driver.open_by_ffmpeg(0, options) is torch
    export_one(device)
    assert driver.opened_by_ffmpeg == [torch] * 3
    driver.release(0)  # torch goes: what FFmpeg works in must stay
    assert flags == BLOCKING_SYNC or driver.primary[0] is torch


def test_the_old_way_is_refused(driver: Driver) -> None:
    driver.retain(0, 0)
    with pytest.raises(av.error.FFmpegError, match="Primary context already active"):
        driver.open_by_ffmpeg(0, {"primary_ctx": "1"})
    assert "incompatible" in str(incompatible())


@pytest.mark.parametrize("is_used_before", [False, True])
def test_doctor_finds_the_decoder_beside_a_library_that_has_the_gpu(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, is_used_before: bool
) -> None:
    monkeypatch.setattr(inventory, "find_encoders", lambda index: ())
    if is_used_before:
        driver.retain(1, 0)
    assert inventory.describe_codecs(1).startswith("NVDEC starts")


@pytest.mark.parametrize("is_used_before", [False, True])
def test_encoders_are_found_beside_a_library_that_has_the_gpu(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, is_used_before: bool
) -> None:
    class Context:
        def open(self) -> None:
            assert self.pix_fmt in ("nv12", "p010le")  # type: ignore[attr-defined]
            if self.pix_fmt == "p010le" and self.name == "h264_nvenc":  # type: ignore[attr-defined]
                raise av.error.ExternalError(542398533, "No capable devices found")

        @classmethod
        def create(cls, name: str, mode: str, hwaccel: FfmpegAccel) -> Context:
            hwaccel.create(name, for_encoding=True)
            made = cls()
            made.name = name  # type: ignore[attr-defined]
            return made

    monkeypatch.setattr(nvenc, "_found", {})
    monkeypatch.setattr(nvenc.av, "CodecContext", Context)
    monkeypatch.setattr(nvenc.av, "VideoCodecContext", Context)
    monkeypatch.setattr(nvenc.av, "codecs_available", set(nvenc.NVENC))
    if is_used_before:
        driver.retain(1, 0)
    assert nvenc.find_encoders(1) == (("h264_nvenc", 8), ("hevc_nvenc", 8), ("hevc_nvenc", 10), ("av1_nvenc", 8), ("av1_nvenc", 10))


def export_one(device: cuda_device.CudaDevice) -> av.VideoFrame:
    whole = device.allocate((48, 256), "uint8")
    stream = device.open_stream()
    device.clear(whole, stream)
    device.synchronise(device.record(stream))
    return device.export_surface((whole[:32], whole[32:].reshape(16, 128, 2)), "nv12")


# the pipeline through CuPy


def run(device: cuda_device.CudaDevice, sim: SimDevice, model: Path, frames: list[Any], *, surfaces: bool = False) -> list[Any]:
    def open_network(spec: Any, bits: int, shape: tuple[int, int, int]) -> tuple[SimNetwork, None]:
        return SimNetwork(spec, sim, bits=bits), None

    options = UpscaleOptions(str(model), engine="openvino", precision="f32", threads=1)
    upscaler = DeviceUpscaler(options, open_device=lambda: device, open_network=open_network)
    upscaler.surfaces = surfaces
    with upscaler:
        if not surfaces:
            return list(upscaler(iter(frames)))
        encoder = Nvenc(sim)
        for frame in upscaler(iter(frames)):
            encoder.encode(frame)
            del frame
        return encoder.close()


@pytest.mark.parametrize("gpu", [0, 1])
@pytest.mark.parametrize("kind", ["host", "surfaces", "recurrent surfaces"])
def test_the_pipeline_runs_through_cupy_as_on_the_cpu(
    open_device: Open, sims: list[SimDevice], model: Path, recurrent: Path, gpu: int, kind: str
) -> None:
    path = recurrent if "recurrent" in kind else model
    frames = make_frames(12)
    given = frames if kind == "host" else [Surface(frame) for frame in frames]
    results = run(open_device(gpu), sims[gpu], path, given, surfaces=kind == "surfaces")
    assert_same(results, on_cpu(path, 2, frames))
    assert sims[gpu].num_graphs > 0
    assert sims[1 - gpu].log == []


def test_an_odd_size_is_copied_by_rows(open_device: Open, sims: list[SimDevice], model: Path) -> None:
    frames = make_frames(4, size=(63, 47))
    assert_same(run(open_device(), sims[0], model, frames), on_cpu(model, 2, frames))


@pytest.mark.parametrize("kind", ["allocate", "upload", "launch", "enqueue"])
def test_what_cupy_says_of_too_little_memory_costs_no_frame(open_device: Open, sims: list[SimDevice], model: Path, kind: str) -> None:
    frames = make_frames(12)
    device = open_device()
    sims[0].failures[kind] = {20} if kind == "allocate" else {5}
    assert_same(run(device, sims[0], model, frames), on_cpu(model, 2, frames))


def test_a_capture_that_cuda_refuses_is_launched_as_it_is(open_device: Open, sims: list[SimDevice], model: Path) -> None:
    sims[0].capturable = False
    frames = make_frames(8)
    assert_same(run(open_device(), sims[0], model, frames), on_cpu(model, 2, frames))
    assert sims[0].num_launched == 0


def test_a_picture_is_read_after_the_decoder_has_written_it(open_device: Open, sims: list[SimDevice], model: Path) -> None:
    device = open_device()
    stream, other = device.open_stream(), device.open_stream()
    surface = Surface(make_frames(1)[0])
    planes = [device.allocate(shape, "uint8") for shape in ((48, 64), (24, 32), (24, 32))]
    imported = device.import_surface(surface, stream)  # type: ignore[arg-type]
    device.kernels.deinterleave(imported, planes, bits=8, stream=stream)
    with pytest.raises(HazardError):
        device.kernels.deinterleave(imported, planes, bits=8, stream=other)


# what is missing is one clear line


def test_a_gpu_that_is_too_old_is_named(open_device: Open) -> None:
    with pytest.raises(EngineError, match=r"cuda:0 \(NVIDIA Simulated\) has compute capability 6.1; frames on a GPU need 7.5"):
        open_device(capability=(6, 1))


def test_a_machine_without_a_compiler_of_kernels_names_the_command(open_device: Open) -> None:
    with pytest.raises(EngineError, match="libnvrtc") as caught:
        open_device(has_nvrtc=False)
    assert "pip install 'streamsr[cuda12]'" in (caught.value.hint or "")


def test_a_driver_older_than_cupys_cuda_is_said(open_device: Open) -> None:
    with pytest.raises(EngineError, match="the driver is older than the CUDA that CuPy was built for"):
        open_device(old_driver=True)


def test_a_gpu_that_is_not_there_is_said(open_device: Open) -> None:
    with pytest.raises(EngineError, match="cuda:7"):
        open_device(7)


def test_an_error_of_the_driver_in_a_launch_is_said(open_device: Open, sims: list[SimDevice]) -> None:
    device = open_device()
    stream, array = device.open_stream(), device.allocate((4,), "uint8")
    graph = device.capture(stream, lambda: device.clear(array, stream))
    sims[0].failures["launch"] = {0}
    with pytest.raises(DeviceMemoryError, match="too little memory"):
        device.launch(graph, stream)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4, 5), (1, 2, 1, 6), (4, 1)])
def test_pieces_of_rows_cover_an_array_once(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    big = rng.integers(0, 99, [side + 2 for side in shape]).astype(np.uint16)
    source = big[tuple(slice(1, 1 + side) for side in shape)]
    for out in (np.zeros(shape, np.uint16), np.zeros([side + 3 for side in shape], np.uint16)[tuple(slice(0, side) for side in shape)]):
        rows, row_bytes, pitches, places = cuda_device.find_sheets(source, out)
        for one, other in places:
            for row in range(rows):
                given = (np.ctypeslib.ctypes.c_uint8 * row_bytes).from_address(source.ctypes.data + one + row * pitches[0])
                np.ctypeslib.ctypes.memmove(out.ctypes.data + other + row * pitches[1], given, row_bytes)
        assert np.array_equal(out, source)


def test_cupy_itself_has_what_is_used_of_it() -> None:
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy is not installed")
    import cupy

    for dotted, keywords in FACE.items():
        found = cupy
        for name in dotted.split("."):
            found = getattr(found, name)
        text = f"{found.__doc__} {getattr(found, '__init__', found).__doc__}"
        assert all(keyword in text for keyword in keywords), (dotted, keywords)
