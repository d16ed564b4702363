"""Capabilities of this machine's NVIDIA GPUs, for display: by pycuda where it is installed, else CuPy, else the driver itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import av.error
from av.codec.hwaccel import HWAccel

from ..engines.gpus import list_gpus
from ..gpu_context import claim_context, ffmpeg_device
from .nvenc import WITHOUT, count_segments_at_once, find_encoders


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """One GPU, as CUDA_VISIBLE_DEVICES numbers them. 0 and "" if the queried package does not report it."""

    index: int
    name: str
    capability: str  # compute capability, "9.0"
    memory_bytes: int
    free_bytes: int = 0
    cuda: str = ""  # the newest CUDA that the driver runs, "13.0"
    multiprocessors: int = 0
    copy_engines: int = 0  # how many uploads and downloads run beside kernels
    asked: str = "the driver"

    @property
    def words(self) -> str:
        """One line."""
        memory = f"{self.memory_bytes / 2**30:.1f} GiB"
        if self.free_bytes:
            memory += f", {self.free_bytes / 2**30:.1f} free"
        parts = [self.name, f"compute capability {self.capability}", memory]
        if self.multiprocessors:
            parts.append(f"{self.multiprocessors} multiprocessors, {self.copy_engines} copy engines")
        if self.cuda:
            parts.append(f"driver for CUDA {self.cuda}")
        return f"{', '.join(parts)} (by {self.asked})"


def inspect_gpus() -> list[GpuFacts]:
    """All GPUs; [] without one. A package that is installed and does not start is passed over."""
    for package, ask in (("pycuda", _ask_pycuda), ("cupy", _ask_cupy)):
        if importlib.util.find_spec(package) is not None:
            found = _try(ask)
            if found:
                return found
    return [GpuFacts(gpu.index, gpu.name, gpu.capability, gpu.memory_bytes) for gpu in list_gpus()]


def _try(ask: Callable[[], Iterator[GpuFacts]]) -> list[GpuFacts]:
    try:
        return list(ask())
    except Exception:  # each package has errors of its own, and a driver that is missing is none of them
        return []


def _ask_pycuda() -> Iterator[GpuFacts]:
    import pycuda.driver as driver

    driver.init()
    for index in range(driver.Device.count()):
        claim_context(index)
        device = driver.Device(index)
        attributes = device.get_attributes()
        context = device.retain_primary_context()
        context.push()
        try:
            free, total = driver.mem_get_info()
        finally:
            context.pop()
        major, minor = device.compute_capability()
        names = driver.device_attribute
        yield GpuFacts(
            index, device.name(), f"{major}.{minor}", int(total), int(free), _version(driver.get_driver_version()),
            int(attributes[names.MULTIPROCESSOR_COUNT]), int(attributes[names.ASYNC_ENGINE_COUNT]), "pycuda",
        )  # fmt: skip


def _ask_cupy() -> Iterator[GpuFacts]:
    import cupy

    runtime = cupy.cuda.runtime
    for index in range(runtime.getDeviceCount()):
        claim_context(index)
        with cupy.cuda.Device(index):
            facts, (free, total) = runtime.getDeviceProperties(index), runtime.memGetInfo()
        name = facts["name"].decode() if isinstance(facts["name"], bytes) else str(facts["name"])
        yield GpuFacts(
            index, name, f"{facts['major']}.{facts['minor']}", int(total), int(free), _version(runtime.driverGetVersion()),
            int(facts["multiProcessorCount"]), int(facts["asyncEngineCount"]), "CuPy",
        )  # fmt: skip


def _version(number: int) -> str:
    """13000 -> "13.0"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def describe_codecs(index: int) -> str:
    """The video decoders and encoders of a GPU, as text: each is tried."""
    try:
        with ffmpeg_device(index) as options:
            HWAccel("cuda", device=str(index), options=options, is_hw_owned=True).create(av.Codec("h264", "r"))
        decodes = "NVDEC starts"
    except (av.error.FFmpegError, NotImplementedError, RuntimeError) as error:
        decodes = f"NVDEC does not start ({error})"
    bits: dict[str, list[str]] = {}
    for encoder in find_encoders(index):
        bits.setdefault(encoder.name, []).append(str(encoder.bits))
    if not bits and is_built_with_nvenc(index):
        return f"{decodes}; NVENC is there, and none of its encoders opens: see the driver's limit of sessions, and `nvidia-smi`"
    encoders = ", ".join(f"{name} ({' and '.join(each)} bits)" for name, each in bits.items())
    twice = ", two segments of a file at a time with --workers auto" if encoders and count_segments_at_once(index) > 1 else ""
    return f"{decodes}; NVENC has {encoders or 'no encoder, so the CPU encodes'}{twice}"


def is_built_with_nvenc(index: int) -> bool:
    """Whether GPUs of this kind have NVENC, whatever opens now; false where the driver is not asked."""
    gpus = list_gpus()
    return index < len(gpus) and gpus[index].capability not in WITHOUT
