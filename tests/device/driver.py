"""Stands for the NVIDIA driver and for what FFmpeg asks of it: primary contexts with flags and owners, and each thread's current one.

Functions are called as ctypes calls libcuda's; results are CUDA's error numbers. FFmpeg's rules are those of libavutil/hwcontext_cuda.c.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import av.error

BLOCKING_SYNC = 4
INVALID_DEVICE, INVALID_CONTEXT = 101, 201


@dataclass(eq=False)
class Context:
    gpu: int
    flags: int


def incompatible() -> av.error.FFmpegError:
    """What FFmpeg answers where the primary context has other flags."""
    return av.error.FFmpegError(95, "Operation not supported", "Primary context already active with incompatible flags")


class Driver:
    """num_gpus: as CUDA counts them."""

    def __init__(self, num_gpus: int = 1) -> None:
        self.num_gpus = num_gpus
        self.flags = Counter[int]()  # that a primary context has, or would get
        self.primary: dict[int, Context] = {}
        self.users = Counter[int]()  # who retains the primary context of a GPU
        self.opened_by_ffmpeg: list[Context] = []
        self._threads = threading.local()

    # libcuda

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.num_gpus
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index
        return 0 if 0 <= index < self.num_gpus else INVALID_DEVICE

    def cuDevicePrimaryCtxGetState(self, device: Any, flags: Any, active: Any) -> int:  # noqa: N802
        gpu = device.value
        flags._obj.value, active._obj.value = self.flags[gpu], int(gpu in self.primary)
        return 0

    def cuDevicePrimaryCtxSetFlags_v2(self, device: Any, flags: int) -> int:  # noqa: N802
        assert device.value not in self.primary, "the flags of a context that is in use are changed"
        self.flags[device.value] = flags
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: Any) -> int:  # noqa: N802
        context._obj.value = self._name(self.retain(device.value))
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: Any) -> int:  # noqa: N802
        self.release(device.value)
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:  # noqa: N802
        found = [each for each in self.primary.values() if self._name(each) == context.value]
        self.current.extend(found)
        return 0 if found else INVALID_CONTEXT

    def cuCtxPopCurrent_v2(self, context: Any) -> int:  # noqa: N802
        if not self.current:
            return INVALID_CONTEXT
        context._obj.value = self._name(self.current.pop())
        return 0

    # what libraries do

    def retain(self, gpu: int, flags: int | None = None) -> Context:
        """As CuPy, torch and TensorRT do it. flags: what the library wants, where nobody has opened it yet."""
        if gpu not in self.primary:
            self.flags[gpu] = self.flags[gpu] if flags is None else flags
            self.primary[gpu] = Context(gpu, self.flags[gpu])
        self.users[gpu] += 1
        return self.primary[gpu]

    def release(self, gpu: int) -> None:
        assert self.users[gpu], "a context is released more often than it was retained"
        self.users[gpu] -= 1
        if not self.users[gpu]:
            del self.primary[gpu]

    @property
    def current(self) -> list[Context]:
        """The stack of this thread."""
        if not hasattr(self._threads, "stack"):
            self._threads.stack = []
        return self._threads.stack  # type: ignore[no-any-return]

    @contextmanager
    def on(self, gpu: int) -> Iterator[None]:
        """The primary context is current in this thread, as in `with cupy.cuda.Device(gpu)`."""
        self.current.append(self.retain(gpu))
        try:
            yield
        finally:
            self.current.pop()
            self.release(gpu)

    def open_by_ffmpeg(self, gpu: int, options: Mapping[str, object]) -> Context:
        """av_hwdevice_ctx_create. Memory is shared only in the primary context, so any other is a failure of the caller."""
        is_primary, is_current = options.get("primary_ctx") == "1", options.get("current_ctx") == "1"
        assert is_primary != is_current, f"FFmpeg would make a context of its own, or refuse: {options}"
        if is_current:
            assert self.current, "FFmpeg is told to take the current context, and this thread has none"
            assert self.current[-1].gpu == gpu, "FFmpeg takes the context of another GPU"
            assert self.users[gpu], "nobody retains it"
            context = self.current[-1]
        elif gpu in self.primary and self.primary[gpu].flags != BLOCKING_SYNC:
            raise incompatible()
        else:
            context = self.retain(gpu, BLOCKING_SYNC)
        self.opened_by_ffmpeg.append(context)
        return context

    @staticmethod
    def _name(context: Context) -> int:
        return id(context) & 0x7FFFFFFFFFFF


class FfmpegAccel:
    """Stands for `av.codec.hwaccel.HWAccel`, whose device opens with the codec that it is given to."""

    driver: Driver  # set by the test

    def __init__(self, device_type: str, *, device: str, options: Mapping[str, object] | None = None, is_hw_owned: bool = False,
                 allow_software_fallback: bool = True) -> None:  # fmt: skip
        assert device_type == "cuda"
        assert is_hw_owned, "surfaces would be copied to the host"
        self.gpu, self.options = int(device), {"primary_ctx": "1"} | dict(options or {})  # PyAV's default

    def create(self, codec: Any, for_encoding: bool = False) -> FfmpegAccel:
        self.driver.open_by_ffmpeg(self.gpu, self.options)
        return self


class FfmpegCudaContext:
    """Stands for `av.video.frame.CudaContext`, which opens with its first frame."""

    driver: Driver

    def __init__(self, device_id: int = 0, primary_ctx: bool = True, current_ctx: bool = False) -> None:
        self.device_id = device_id
        self.options = {"primary_ctx": str(int(primary_ctx)), "current_ctx": str(int(current_ctx))}
        self.context: Context | None = None

    def open(self) -> Context:
        self.context = self.context or self.driver.open_by_ffmpeg(self.device_id, self.options)
        return self.context
