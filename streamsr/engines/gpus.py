"""The NVIDIA GPUs of this machine, queried from the driver.

Not by nvidia-ml-py: NVML numbers GPUs as nvidia-smi does, whatever CUDA_VISIBLE_DEVICES says, and every engine here goes by CUDA's numbers.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from streamsr.errors import EngineError, UsageError
from streamsr.gpu_context import load_driver

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_NAME_BYTES = 256
LEAST_CAPABILITY = (7, 5)  # of the kernels, and of what TensorRT and CUDA 13 still know


@dataclass(frozen=True)
class Gpu:
    """One device as CUDA_VISIBLE_DEVICES numbers them."""

    index: int
    name: str  # "NVIDIA H100 80GB HBM3"
    capability: str  # compute capability, "9.0"
    memory_bytes: int

    @property
    def device(self) -> str:
        return f"cuda:{self.index}"

    @property
    def is_supported(self) -> bool:
        """Whether frames can stay on it."""
        return tuple(map(int, self.capability.split("."))) >= LEAST_CAPABILITY


@cache
def list_gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA can use; () without a driver, or with one that does not start."""
    driver, count = load_driver(), ctypes.c_int()
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_describe(driver, index) for index in range(count.value))


def _describe(driver: ctypes.CDLL, index: int) -> Gpu:
    handle, major, minor, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGet(ctypes.byref(handle), index)
    driver.cuDeviceGetName(name, _NAME_BYTES, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    return Gpu(index, name.value.decode(errors="replace"), f"{major.value}.{minor.value}", memory.value)


def find_gpu(device: str, gpus: Sequence[Gpu] | None = None) -> Gpu:
    """The GPU of "auto", "cuda" (the first one) or "cuda:N". Raises UsageError for other names, EngineError for a GPU that is not here."""
    gpus = list_gpus() if gpus is None else gpus
    found = re.fullmatch(r"cuda(?::(\d+))?", "cuda" if device == "auto" else device)
    if found is None:
        raise UsageError(f"{device!r} is not a CUDA device; give cuda:0 or another number.")
    number = int(found[1] or 0)
    if number >= len(gpus):
        here = ", ".join(f"{gpu.device} ({gpu.name})" for gpu in gpus) or "none"
        hint = "nvidia-smi shows whether the driver runs; CUDA_VISIBLE_DEVICES hides devices"
        raise EngineError(f"There is no device {device!r} here. CUDA devices: {here}.", hint=hint)
    return gpus[number]
