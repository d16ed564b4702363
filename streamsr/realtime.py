"""--realtime: try the network on pictures of the input's size, and take what keeps up."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from typing import cast

import av
import numpy as np

from .device.device_selection import find_devices
from .device.upscaler_factory import open_upscaler
from .frame import Frame
from .io.source import Source
from .models import RESIZE
from .options import Precision, SourceOptions, UpscaleOptions
from .pipeline import fit_size

_SHARE = 0.6  # of the time between two frames that upscaling may take: decoder and encoder want the rest
_TRIES = 6


def choose_realtime(url: str, upscale: UpscaleOptions, source: SourceOptions) -> tuple[UpscaleOptions, str]:
    """The options with the model if it is fast enough here, else with the plain resize; and why. Raises what opening raises.

    A pipe cannot be read twice, so for "-" the model is taken as it is.
    """
    model = upscale.model
    if url == "-" or model == RESIZE:
        return upscale, f"{model}, not measured: a pipe cannot be read twice" if url == "-" else f"{model}, as asked"
    with Source(url, source) as opened:
        tags, budget_s = opened.tags, _SHARE / float(opened.rate)
        size = None if upscale.size is None else fit_size(opened, upscale.size)
    with open_upscaler(replace(upscale, size=size, device=find_devices(upscale)[0])) as upscaler:
        frames = [_noise(tags.width, tags.height, tags.pix_fmt, seed) for seed in range(_TRIES)]
        for _ in upscaler(iter(frames[:1])):
            pass
        at = time.perf_counter()
        for _ in upscaler(iter(frames)):
            pass
        took_s = (time.perf_counter() - at) / _TRIES
        words = f"{upscaler.model} in {upscaler.precision} takes {took_s * 1000:.1f} ms a frame of {budget_s * 1000:.1f} ms"
        if took_s <= budget_s:
            return replace(upscale, precision=cast(Precision, upscaler.precision)), words
    return replace(upscale, model=RESIZE, precision="auto"), f"{words}: too slow here, so {RESIZE}"


def _noise(width: int, height: int, pix_fmt: str, seed: int) -> av.VideoFrame:
    """A frame that is not equal to the one before it."""
    video = av.VideoFrame(width, height, "yuv420p")
    video.pts = seed
    video.time_base = Fraction(1, 25)
    for plane in Frame(video).planes:
        plane[:] = np.random.default_rng(seed).integers(16, 236, plane.shape, np.uint8)
    return video if pix_fmt == "yuv420p" else video.reformat(format=pix_fmt)
