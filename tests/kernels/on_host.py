"""A device that is this machine's CPU: the wrappers of streamsr_kernels run on NumPy arrays, their .cu files built by g++."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamsr_kernels.kernel_source import Kernel, read_source
from streamsr_kernels.launch_device import DEFAULT_SHARED_BYTES, Argument, View

FOLDER = Path(__file__).parent
COMPILER = shutil.which("g++")
# UBSan sees accesses that are not aligned as a vector of the GPU has to be, and integers that overflow
FLAGS = ["-std=c++17", "-O1", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-fsanitize=undefined",
         "-fno-sanitize-recover=all"]  # fmt: skip
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([^\n]*?\)\s)?(\w+)\(')
MAX_SHARED_BYTES = 64 * 1024  # of compute capability 7.5, the least that is supported


def require_compiler() -> None:
    """Skip without g++, or fail where STREAMSR_REQUIRE names it."""
    if COMPILER is None:
        if "g++" in os.environ.get("STREAMSR_REQUIRE", "").split(","):
            pytest.fail("g++ is not installed, and STREAMSR_REQUIRE names it")
        pytest.skip("g++ is not installed: the kernels' build for the CPU is not tested")


class HostDevice:
    """Stands for streamsr_kernels.launch_device.Device: arrays are NumPy's, launches run to their end at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launched: list[tuple[Kernel, tuple[int, ...]]] = []
        self._libraries: dict[tuple[str, Any], ctypes.CDLL] = {}
        self._tables: dict[Hashable, tuple[np.ndarray, ...]] = {}

    def __enter__(self) -> HostDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def view(self, name: str, array: Any) -> View:
        """NumPy arrays, and torch tensors in host memory."""
        array = np.asarray(array)
        return View(name, array.ctypes.data, array.shape, array.strides, array.dtype, array)

    def empty(self, name: str, shape: tuple[int, ...], dtype: Any) -> View:
        """16 bytes aligned, as a device's memory is, and full of what is not a number."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.full(size + 16, 0xFF, np.uint8)
        start = -memory.ctypes.data % 16
        return self.view(name, memory[start : start + size].view(dtype).reshape(shape))

    def tables(self, key: Hashable, make: Callable[[], Sequence[np.ndarray]], owner: Any = None) -> tuple[View, ...]:
        if key not in self._tables:
            self._tables[key] = tuple(make())
        return tuple(self.view("table", array) for array in self._tables[key])

    def launch(
        self, kernel: Kernel, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Argument], *, shared_bytes: int = 0
    ) -> None:
        """Checks first what a driver would: sizes, and the arguments against the kernel's parameters."""
        grid, block = ((*sizes, 1, 1)[:3] for sizes in (grid, block))
        assert all(0 < size <= limit for size, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=True)), grid
        assert 0 < np.prod(block) <= 1024
        assert shared_bytes <= MAX_SHARED_BYTES
        library = self._library(kernel)
        kinds = ctypes.create_string_buffer(2 * 64)
        getattr(library, f"describe_{kernel.name}")(kinds)
        values = [ctypes.c_uint64(argument.pointer) if isinstance(argument, View) else argument.tobytes() for argument in arguments]
        brought = "".join("p8" if isinstance(a, View) else f"{'f' if a.dtype.kind == 'f' else 'i'}{a.dtype.itemsize}" for a in arguments)
        assert brought == kinds.value.decode(), f"{kernel.name} takes {kinds.value.decode()}, got {brought}"
        buffers = [ctypes.create_string_buffer(bytes(value), len(bytes(value))) for value in values]
        pointers = (ctypes.c_void_p * len(buffers))(*(ctypes.addressof(buffer) for buffer in buffers))
        getattr(library, f"launch_{kernel.name}")((ctypes.c_uint * 7)(*grid, *block, shared_bytes), pointers)
        self.launched.append((kernel, grid))

    def _library(self, kernel: Kernel) -> ctypes.CDLL:
        key = (kernel.file, kernel.macros)
        if key not in self._libraries:
            self._libraries[key] = build(kernel, self.folder)
        return self._libraries[key]


def build(kernel: Kernel, folder: Path) -> ctypes.CDLL:
    """The .cu file of a kernel as a library of this machine."""
    assert COMPILER is not None
    source = read_source(kernel.file)
    launchers = "".join(
        f'extern "C" void launch_{name}(const unsigned* sizes, void** values) {{ host::run({name}, sizes, values); }}\n'
        f'extern "C" void describe_{name}(char* kinds) {{ host::describe({name}, kinds); }}\n'
        for name in KERNEL.findall(source)
    )
    stem = "_".join([Path(kernel.file).stem, *(f"{name}{value}" for name, value in kernel.macros)])
    text, library = folder / f"{stem}.cpp", folder / f"{stem}.so"
    text.write_text(source + launchers)
    macros = [f"-D{name}={value}" for name, value in kernel.macros]
    command = [COMPILER, *FLAGS, *macros, "-include", str(FOLDER / "cuda_on_host.hpp"), str(text), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]
    return ctypes.CDLL(str(library))


assert DEFAULT_SHARED_BYTES <= MAX_SHARED_BYTES
