"""The two distributions of TensorRT. They share one API; a plan of one does not run in the other, nor in another version of it.

`tensorrt` runs on all GPUs and builds on the GPU that the plan is for. `tensorrt_rtx` builds without a GPU, and runs on GPUs
of compute capability 7.5, 8.0, 8.6, 8.9 and from 12.0 on: not on the data-centre GPUs of 9.0 and 10.x.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from streamsr.errors import EngineError

FLAVOURS = ("tensorrt", "tensorrt_rtx")  # in order of preference where both run: the first one picks kernels by measuring them
OLDEST = (8, 6)  # of `tensorrt`; `tensorrt_rtx` counts anew and starts at 1.0
INSTALL = "pip install 'streamsr[cuda12]', or 'streamsr[cuda13]' for CUDA 13, or 'streamsr[rtx]' for RTX GPUs"


@dataclass(frozen=True)
class Flavour:
    """One that is installed and imported."""

    name: str
    version: str
    trt: Any  # the module

    @property
    def is_rtx(self) -> bool:
        return self.name == "tensorrt_rtx"


def runs_on(name: str, capability: str) -> bool:
    """Whether a flavour knows GPUs of this compute capability."""
    major, minor = (int(number) for number in capability.split("."))
    return name == "tensorrt" or major >= 12 or (major == 8 and minor in (0, 6, 9)) or (major, minor) == (7, 5)


def installed_flavours() -> list[str]:
    """Those that can be imported; looks them up without importing them."""
    return [name for name in FLAVOURS if importlib.util.find_spec(name) is not None]


def find_flavour(capability: str) -> str | None:
    """The installed flavour for GPUs of this compute capability."""
    return next((name for name in installed_flavours() if runs_on(name, capability)), None)


def load_flavour(capability: str, *, without_gpu: bool = False) -> Flavour:
    """Import TensorRT for GPUs of this compute capability. Raises EngineError with the pip command where there is none.

    without_gpu: to build here for a GPU that is elsewhere.
    """
    names = [name for name in installed_flavours() if runs_on(name, capability)]
    if without_gpu:
        names = [name for name in names if name == "tensorrt_rtx"]
        if not names and not runs_on("tensorrt_rtx", capability):
            hint = "run this command on the machine that has it"
            raise EngineError(f"Plans for compute capability {capability} can only be built on such a GPU.", hint=hint)
    if not names:
        if "tensorrt_rtx" in installed_flavours():
            hint = "pip install 'streamsr[cuda12]' or 'streamsr[cuda13]'"
            raise EngineError(f"TensorRT for RTX does not run on compute capability {capability}.", hint=hint)
        raise EngineError("TensorRT is not installed.", hint="pip install 'streamsr[rtx]'" if without_gpu else INSTALL)
    return import_flavour(names[0])


def import_flavour(name: str) -> Flavour:
    """Import one flavour. Raises EngineError where it does not start or is too old."""
    try:
        trt = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise EngineError(f"{name} is installed, but does not start: {error}", hint=INSTALL) from error
    version = str(trt.__version__)
    if name == "tensorrt" and tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        raise EngineError(f"TensorRT {version} is too old; streamsr needs {'.'.join(map(str, OLDEST))} or later.", hint=INSTALL)
    return Flavour(name, version, trt)
