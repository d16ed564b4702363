"""Which encoders NVENC has on a GPU: data-centre GPUs such as A100 and H100 have none, older ones no AV1."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av
import av.error
from av.codec.hwaccel import HWAccel

NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
_SIDE = 256  # pixels: what all of them take


@cache
def find_encoders(gpu: int) -> tuple[str, ...]:
    """FFmpeg's names of the encoders that open on GPU number `gpu`; each is tried once in a process."""
    return tuple(name for name in NVENC if name in av.codecs_available and opens(name, gpu))


def opens(name: str, gpu: int) -> bool:
    """Whether an encoder opens there. What a GPU, a driver or its limit of sessions refuses is no encoder now."""
    try:
        accelerator = HWAccel("cuda", device=str(gpu), options={"primary_ctx": "1"}, is_hw_owned=True)
        context = av.CodecContext.create(name, "w", hwaccel=accelerator)
        assert isinstance(context, av.VideoCodecContext)
        context.width = context.height = _SIDE
        context.pix_fmt, context.time_base = "nv12", Fraction(1, 25)
        context.open()
    except (av.error.FFmpegError, NotImplementedError, RuntimeError, ValueError):
        return False
    return True
