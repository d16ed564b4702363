"""--realtime: try the network on pictures of the input's size, and take what keeps up."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import cast

import av
import numpy as np

from .device.device_selection import find_devices
from .device.upscaler_factory import open_upscaler
from .frame import Frame
from .io.source import Source
from .models import RESIZE
from .options import Precision, SourceOptions
from .pipeline import fit_size

_SHARE = 0.6  # of the time between two frames that upscaling may take: decoder and encoder want the rest
_TRIES = 6


def choose_realtime(
    url: str, options: SourceOptions, *, scale: float, size: tuple[int, int] | None, model: str, precision: Precision,
    engine: str, device: str, threads: int,
) -> tuple[str, Precision, str]:
    """(model, precision, why): `model` if it is fast enough here, else the plain resize. Raises what opening raises.

    A pipe cannot be read twice, so for "-" the model is taken as it is.
    """  # fmt: skip
    if url == "-" or model == RESIZE:
        return model, precision, f"{model}, not measured: a pipe cannot be read twice" if url == "-" else f"{model}, as asked"
    with Source(url, options) as source:
        tags, budget_s = source.tags, _SHARE / float(source.rate)
        target = None if size is None else fit_size(source, size)
    place = find_devices(device, engine=engine, model=model).split(",")[0]
    with open_upscaler(model, scale, size=target, engine=engine, device=place, precision=precision, threads=threads) as upscaler:
        frames = [_noise(tags.width, tags.height, tags.pix_fmt, seed) for seed in range(_TRIES)]
        for _ in upscaler(iter(frames[:1])):
            pass
        at = time.perf_counter()
        for _ in upscaler(iter(frames)):
            pass
        took_s = (time.perf_counter() - at) / _TRIES
        words = f"{upscaler.model} in {upscaler.precision} takes {took_s * 1000:.1f} ms a frame of {budget_s * 1000:.1f} ms"
        if took_s <= budget_s:
            return model, cast(Precision, upscaler.precision), words
    return RESIZE, "auto", f"{words}: too slow here, so {RESIZE}"


def _noise(width: int, height: int, pix_fmt: str, seed: int) -> av.VideoFrame:
    """A frame that is not equal to the one before it."""
    video = av.VideoFrame(width, height, "yuv420p")
    video.pts = seed
    video.time_base = Fraction(1, 25)
    for plane in Frame(video).planes:
        plane[:] = np.random.default_rng(seed).integers(16, 236, plane.shape, np.uint8)
    return video if pix_fmt == "yuv420p" else video.reformat(format=pix_fmt)
