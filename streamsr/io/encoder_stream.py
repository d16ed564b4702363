"""A CUDA stream for encoders, apart from the one that NVDEC uses.

Note [Encoder stream]: NVENC reads a surface on the stream of its AVCUDADeviceContext, and NVDEC writes one on its own's: for both that is
the legacy stream, unless it is set. On one stream, a decoded picture, and all that waits for it, would wait for what NVENC still has to
read. PyAV sets a stream for frames alone (`CudaContext`), so it is set here, between the opening of the device and that of the encoder.
It orders nothing else: a surface is complete before an encoder gets it, and not written again before FFmpeg has let go of it.
"""

from __future__ import annotations

import ctypes
from functools import cache

import av

from ..gpu_context import load_driver
from ..libav import cuda_device_of

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: the legacy stream neither waits for it nor makes it wait


def separate_stream(context: av.CodecContext) -> None:
    """Give an encoder on a GPU, which is not open yet, a stream of its own."""
    device = cuda_device_of(context)
    device.stream = _open_stream(device.context or 0)


@cache
def _open_stream(context: int) -> int:
    """For all encoders of this process in one CUDA context; 0, the legacy one, where the driver has none left."""
    driver, stream = load_driver(), ctypes.c_void_p()
    driver.cuCtxPushCurrent_v2(ctypes.c_void_p(context))
    try:
        driver.cuStreamCreate(ctypes.byref(stream), _NON_BLOCKING)
    finally:
        driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    return stream.value or 0
