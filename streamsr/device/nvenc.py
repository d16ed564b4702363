"""Which encoders NVENC has on a GPU: data-centre GPUs such as A100 and H100 have none, older ones no AV1, few 10 bits of H.264."""

from __future__ import annotations

import threading
from fractions import Fraction

import av
import av.error
from av.codec.hwaccel import HWAccel

from ..gpu_context import ffmpeg_device
from ..options import Nvenc

NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
SURFACE_OF_BITS = {8: "nv12", 10: "p010le"}
WITHOUT = ("8.0", "9.0", "10.0", "10.3")  # compute capabilities of GPUs that are built without NVENC: A100, H100 and H200, B200, B300
_SIDE = 256  # pixels: what all of them take
_found: dict[int, tuple[Nvenc, ...]] = {}  # by GPU: only what was found is kept, as a GPU that is busy now has some later
_lock = threading.Lock()


def find_encoders(gpu: int) -> tuple[Nvenc, ...]:
    """The encoders that open on GPU number `gpu`, each with its bits; each is tried once a process, where any opens."""
    with _lock:
        if gpu not in _found:
            found = tuple(
                Nvenc(name, bits) for name in NVENC if name in av.codecs_available for bits in SURFACE_OF_BITS if opens(name, gpu, bits)
            )
            if not found:
                return ()
            _found[gpu] = found
        return _found[gpu]


def opens(name: str, gpu: int, bits: int) -> bool:
    """Whether an encoder opens there. What a GPU, a driver or its limit of sessions refuses is no encoder now."""
    try:
        with ffmpeg_device(gpu) as options:
            accelerator = HWAccel("cuda", device=str(gpu), options=options, is_hw_owned=True)
            context = av.CodecContext.create(name, "w", hwaccel=accelerator)
            assert isinstance(context, av.VideoCodecContext)
            context.width = context.height = _SIDE
            context.pix_fmt, context.time_base = SURFACE_OF_BITS[bits], Fraction(1, 25)
            context.open()
    except (av.error.FFmpegError, NotImplementedError, RuntimeError, ValueError):
        return False
    return True
