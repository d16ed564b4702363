"""--realtime: what keeps up on this machine. Faster presets of the encoder first, then lighter models, then the plain resize."""

from __future__ import annotations

import time
from dataclasses import replace
from fractions import Fraction
from typing import cast

import av
import numpy as np

from .device.device_selection import find_devices
from .device.upscaler_factory import open_upscaler
from .engines import count_threads
from .frame import Frame
from .io.encoder_defaults import encode_seconds
from .io.source import Source
from .models import RESIZE, list_models
from .options import EncoderOptions, Precision, SourceOptions, UpscaleOptions
from .pipeline import fit_size

_SHARE = 0.85  # of the time between two frames that network and encoder may take: the decoder and everything else want the rest
_TRIES = 6
_HOPELESS_S = 5.0  # a first frame that takes so long tells enough
# presets that are tried, the slowest first: a faster one costs bits, a lighter model costs what one came for
_PRESETS = {"libx264": ("veryfast", "superfast", "ultrafast"), "libx265": ("superfast", "ultrafast"), "libsvtav1": ("10", "12")}


def choose_realtime(
    url: str, upscale: UpscaleOptions, source: SourceOptions, encode: EncoderOptions
) -> tuple[UpscaleOptions, EncoderOptions, str]:  # fmt: skip
    """The options with a preset and a model that are fast enough here, and why. Raises what opening raises.

    A preset or encoder of the caller's stays. A pipe cannot be read twice, so for "-" the model is taken as it is.
    """
    model = upscale.model
    if url == "-" or model == RESIZE:
        why = f"{model}, not measured: a pipe cannot be read twice" if url == "-" else f"{model}, as asked"
        return upscale, encode, why
    with Source(url, source) as opened:
        tags, budget_s = opened.tags, _SHARE / float(opened.rate)
        size = None if upscale.size is None else fit_size(opened, upscale.size)
    encoder = encode.encoder if encode.encoder != "auto" else "libx264"
    presets = _PRESETS.get(encoder, ()) if encode.preset is None else ()
    tried: list[str] = []
    for name in [model, *lighter_models(model)]:
        took_s, chosen, words, target = _measure(replace(upscale, model=name, size=size), tags.width, tags.height, tags.pix_fmt)
        pixels = target[0] * target[1]
        for preset in presets or (encode.preset,):
            encode_s = encode_seconds(encoder, preset, pixels, cores=count_threads(encode.threads)) or 0.0
            if took_s + encode_s <= budget_s:
                named = f", encoding with {preset} about {encode_s * 1000:.1f} ms" if preset is not None and encode_s else ""
                why = "; ".join([*tried, f"{words}{named}, of {budget_s * 1000:.1f} ms"])
                return replace(upscale, model=name, precision=chosen), replace(encode, preset=preset), why
        tried.append(f"{words} of {budget_s * 1000:.1f} ms: too slow here")
    preset = presets[-1] if presets else encode.preset
    why = "; ".join(tried) + f", so {RESIZE}"
    return replace(upscale, model=RESIZE, precision="auto"), replace(encode, preset=preset), why


def lighter_models(model: str) -> list[str]:
    """Shipped models of fewer multiply-adds than a shipped one, the heaviest first; not those that are a form of another."""
    specs = [spec for spec in list_models() if spec.scale == 2]
    forms = {name for spec in specs for name in (spec.clean_form, spec.picture_form)}
    cost = {spec.name: spec.macs_per_pixel for spec in specs}
    lighter = [name for name in cost if name not in forms and cost[name] < cost.get(model, 0)]
    return sorted(lighter, key=lambda name: -cost[name])


def _measure(
    options: UpscaleOptions, width: int, height: int, pix_fmt: str
) -> tuple[float, Precision, str, tuple[int, int]]:  # fmt: skip
    """Seconds a frame, the precision, both in words, and (width, height) of the result."""
    with open_upscaler(replace(options, device=find_devices(options)[0])) as upscaler:
        frames = [_noise(width, height, pix_fmt, seed) for seed in range(_TRIES)]
        at = time.perf_counter()
        (first,) = upscaler(iter(frames[:1]))
        if time.perf_counter() - at < _HOPELESS_S:
            at = time.perf_counter()
            for _ in upscaler(iter(frames)):
                pass
            took_s = (time.perf_counter() - at) / _TRIES
        else:
            took_s = time.perf_counter() - at
        words = f"{upscaler.model} in {upscaler.precision} takes {took_s * 1000:.1f} ms a frame"
        return took_s, cast(Precision, upscaler.precision), words, (first.width, first.height)


def _noise(width: int, height: int, pix_fmt: str, seed: int) -> av.VideoFrame:
    """A frame that is not equal to the one before it."""
    video = av.VideoFrame(width, height, "yuv420p")
    video.pts = seed
    video.time_base = Fraction(1, 25)
    for plane in Frame(video).planes:
        plane[:] = np.random.default_rng(seed).integers(16, 236, plane.shape, np.uint8)
    return video if pix_fmt == "yuv420p" else video.reformat(format=pix_fmt)
