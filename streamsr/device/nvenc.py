"""Which encoders NVENC has on a GPU: data-centre GPUs such as A100 and H100 have none, older ones no AV1, few 10 bits of H.264.

Note [Two at a time]: one session is never faster than one encoder of the chip, and larger chips have two or more, among which the
driver deals sessions out. A session of HEVC or AV1 may use several (`split_encode_mode`, which the driver sets unless the caller does:
from 2112 lines on, at a cost of some bits), one of H.264 never. So a GPU that says it has several makes two segments at a time: that holds
for every codec and preset, and costs no quality. Source: NVIDIA's NVENC application note, section 3.
"""

from __future__ import annotations

import threading
from fractions import Fraction

import av
import av.error
from av.codec.hwaccel import HWAccel

from ..engines.gpus import list_gpus
from ..gpu_context import ffmpeg_device
from ..options import Nvenc
from .nvenc_engines import count_engines

NVENC = ("h264_nvenc", "hevc_nvenc", "av1_nvenc")
SURFACE_OF_BITS = {8: "nv12", 10: "p010le"}
WITHOUT = ("8.0", "9.0", "10.0", "10.3")  # compute capabilities of GPUs that are built without NVENC: A100, H100 and H200, B200, B300
AT_ONCE = 2  # segments on such a GPU
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


def count_segments_at_once(gpu: int) -> int:
    """How many segments of a file GPU number `gpu` encodes at a time: Note [Two at a time]. 1 for one that is not here."""
    return AT_ONCE if gpu < len(list_gpus()) and count_engines(gpu) > 1 else 1


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
