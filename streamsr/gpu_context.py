"""The primary context of each NVIDIA GPU, which CuPy, torch, TensorRT, NVDEC and NVENC share, so that their memory is one.

Note [One context]: FFmpeg takes the primary context with the flag CU_CTX_SCHED_BLOCK alone, and refuses one that is active with any
other flags ("Primary context already active with incompatible flags", libavutil/hwcontext_cuda.c). Whoever comes first settles the
flags, so `claim_context` sets FFmpeg's before anything else opens the context. Where another library was faster, FFmpeg gets the
context that is current in the calling thread instead: the same one, by a way on which it compares no flags.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC: what FFmpeg wants, and nothing beside it
_held: set[int] = set()  # GPUs whose context this process retains for FFmpeg, which does not retain a current one


@cache
def load_driver() -> Any:
    """libcuda, started; None without a driver, or with one that does not start."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return None if driver.cuInit(0) else driver


def claim_context(index: int) -> bool:
    """Give the primary context of GPU `index` FFmpeg's flags, unless it is active already; call it before the GPU is used.

    Returns whether FFmpeg can take the primary context. True without a driver: FFmpeg then reports what is missing.
    """
    driver = load_driver()
    device = ctypes.c_int()
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), index):
        return True
    flags, active = ctypes.c_uint(), ctypes.c_int()
    if driver.cuDevicePrimaryCtxGetState(device, ctypes.byref(flags), ctypes.byref(active)):
        return True
    if not active.value:
        driver.cuDevicePrimaryCtxSetFlags_v2(device, BLOCKING_SYNC)
        return True
    return flags.value == BLOCKING_SYNC


@contextmanager
def ffmpeg_device(index: int) -> Iterator[dict[str, object]]:
    """The options with which FFmpeg opens GPU `index` in the primary context. It has to be opened inside, in this thread.

    Note [One context]. Raises RuntimeError where the driver does not give the context.
    """
    if claim_context(index):
        yield {"primary_ctx": "1"}
        return
    with current_context(index):
        yield {"primary_ctx": "0", "current_ctx": "1"}


@contextmanager
def current_context(index: int) -> Iterator[int]:
    """The primary context of GPU `index`, current in this thread and retained from now on; gives its address.

    Needs a driver (`load_driver`). Raises RuntimeError where it does not give the context.
    """
    driver, device, context = load_driver(), ctypes.c_int(), ctypes.c_void_p()
    status = driver.cuDeviceGet(ctypes.byref(device), index) or driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    if status:
        raise RuntimeError(f"the driver does not give the context of cuda:{index} (error {status})")
    if index in _held:
        driver.cuDevicePrimaryCtxRelease_v2(device)  # once is enough
    _held.add(index)
    status = driver.cuCtxPushCurrent_v2(context)
    if status:
        raise RuntimeError(f"the driver does not make the context of cuda:{index} current (error {status})")
    try:
        yield context.value or 0
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
