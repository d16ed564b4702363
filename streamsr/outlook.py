"""Outlook: what a run will do, and about how long and how large, said before it begins; and what held it up, said after it.

Note [Expected time]
    Decoding, the network and the encoder share the processor, so their times add up. The network's is its multiply-adds by what a core
    does of them (OpenVINO, Zen 4), the encoder's by streamsr.io.encoder_defaults. How far the last runs on this machine were off is
    kept in the cache folder and corrects the next ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .engines import count_threads
from .engines.plan_cache import cache_folder
from .io.compression import video_rate
from .io.encoder_defaults import COST_NS, encode_seconds
from .io.encoder_settings import Encoding
from .io.encoder_table import ENCODERS, closest_preset
from .io.source import Source
from .output_file import atomic_output
from .upscaling.scale_plan import plan_passes
from .upscaling.upscaler import Upscaler

_MAC_NS = {"int8": 7.4e-3, "bf16": 13.6e-3, "f32": 25e-3}  # ns of one core a multiply-add
_PIXEL_NS = 6.0  # decoding, chroma and copies, a pixel of source and result each
_RESIZE_NS = 12.0  # Lanczos, a pixel of the result
_TIMES = {"libx264": 4.0, "libx265": 2.8, "libsvtav1": 2.3}  # bits of the source that x2 takes, mean of the clips of Note [Presets]
_TYPICAL_BITS = 0.09  # a pixel of a source that does not tell
_FILE = "speed.json"
_MEMORY = 0.5  # share of the newest run in what is kept


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of a run. Unknown numbers are None."""

    words: str  # what it will do
    seconds: float | None
    size_bytes: float | None
    bit_rate_bps: float | None  # of the result's video
    network_s: float  # parts of `seconds`
    encode_s: float
    advice: str  # what would make it faster; "" where nothing stands out
    speed_key: str

    def line(self) -> str:
        """All of it as text."""
        return "; ".join(part for part in (self.words, self.expected()) if part)

    def expected(self) -> str:
        """Time, size and advice."""
        expected = [f"about {show_seconds(self.seconds)}"] if self.seconds is not None else []
        if self.size_bytes is not None and self.bit_rate_bps is not None:
            expected.append(f"about {show_bytes(self.size_bytes)} ({self.bit_rate_bps / 1e6:.1f} Mb/s)")
        return "; ".join(part for part in (", ".join(expected), self.advice) if part)


def look_ahead(
    source: Source, upscaler: Upscaler, encoding: Encoding, size: tuple[int, int], *, deinterlace: str, frame_s: float | None = None
) -> Outlook:  # fmt: skip
    """size: (width, height) of the result. frame_s: measured time of the network for a frame, where there is one."""
    tags, cores = source.tags, count_threads(upscaler.options.threads)
    num_frames = source.expected_frames
    pixels_in, pixels = tags.width * tags.height, size[0] * size[1]
    spec = upscaler.spec
    options = encoding.wanted
    name = upscaler.model + (f" ({spec.look})" if spec is not None and getattr(spec, "has_chroma", False) else "")
    preset, crf = settings_of(encoding)
    parts = [
        f"{describe_crop(source)}{tags.width}x{tags.height} to {size[0]}x{size[1]}", f"{name} by {upscaler.engine}",
        *(["deinterlaced"] if source.interlaced and deinterlace != "off" else []),
        " ".join([encoding.encoder, *([preset] if preset else []), *([f"crf {crf}"] if crf else [])]),
    ]  # fmt: skip
    on_cpu = upscaler.engine in ("openvino", "onnxruntime", "resize") and options.gpu is None
    key = f"{upscaler.model}/{encoding.encoder}/{preset}/{cores}"
    network = network_seconds(upscaler, pixels_in, max(size[0] / tags.width, size[1] / tags.height), pixels, cores) if on_cpu else None
    network = frame_s if frame_s is not None else network
    encode = encode_seconds(encoding.encoder, preset, pixels, cores=cores)
    seconds = None
    if num_frames and network is not None and encode is not None:
        shared = _PIXEL_NS * 1e-9 * (pixels_in + pixels) / cores
        seconds = num_frames * (network + encode + shared) * (_corrections().get(key, 1.0) if frame_s is None else 1.0)
    bit_rate = expected_rate(source, encoding, pixels)
    duration = source.duration_s
    bytes_ = None if bit_rate is None or not duration else (bit_rate + _audio_rate(source)) * duration / 8
    return Outlook(
        ", ".join(parts), seconds, bytes_, bit_rate, network or 0.0, encode or 0.0,
        advise(encoding.encoder, preset, network or 0.0, encode or 0.0), key,
    )  # fmt: skip


def describe_crop(source: Source) -> str:
    """What is cut off, as text that a size follows."""
    crop, (width, height) = source.options.crop, source.whole_size
    if crop is None or crop == "auto":
        return ""
    cut = {"above": crop.top, "below": height - crop.top - crop.height, "left": crop.left, "right": width - crop.left - crop.width}
    return f"{width}x{height} without {', '.join(f'{count} {where}' for where, count in cut.items() if count)}: "


def settings_of(encoding: Encoding) -> tuple[str, str]:
    """(preset, quality) that the encoder will be given, "" for what it does not have."""
    row = ENCODERS.get(encoding.encoder)
    if row is None:
        return "", ""
    wanted = encoding.wanted
    preset = row.realtime_speed if wanted.realtime else row.speed
    if wanted.preset is not None:
        preset = closest_preset(encoding.encoder, wanted.preset)
    crf = row.quality if wanted.crf is None else wanted.crf
    return (preset if row.preset else ""), (f"{crf:g}" if row.crf else "")


def network_seconds(upscaler: Upscaler, pixels_in: int, needed: float, pixels: int, cores: int) -> float:
    """About the time of the network for a frame, with all cores of a CPU."""
    specs = {spec.scale: spec for spec in upscaler.specs}
    cost = _MAC_NS.get(upscaler.options.precision, _MAC_NS["int8"])
    total = 0.0
    for scale in plan_passes(list(specs), needed):
        per_mac = cost if specs[scale].int8_path is not None or upscaler.options.precision != "auto" else _MAC_NS["bf16"]
        total += pixels_in * specs[scale].macs_per_pixel * per_mac
        pixels_in *= scale * scale
    return (total or _RESIZE_NS * pixels) * 1e-9 / cores


def expected_rate(source: Source, encoding: Encoding, pixels: int) -> float | None:
    """About the bits a second of the result's video; None for encoders that were not measured."""
    times = _TIMES.get(encoding.encoder)
    if times is None:
        return None
    tags = source.tags
    pixels_in = tags.width * tags.height
    rate = video_rate(source) or _TYPICAL_BITS * pixels_in * float(source.rate)
    row = ENCODERS[encoding.encoder]
    usual = row.few_cores.quality if row.few_cores is not None and encoding.wanted.preset == row.few_cores.preset else row.quality
    finer = 0.0 if encoding.wanted.crf is None else usual - encoding.wanted.crf
    expected = rate * times * (pixels / pixels_in / 4) ** 0.75 * math.exp2(finer / 6)
    limit = encoding.wanted.max_bit_rate_bps
    return expected if limit is None else min(expected, limit)


def _audio_rate(source: Source) -> float:
    return sum(getattr(stream, "bit_rate", None) or 0 for stream in source.other_streams)


def advise(encoder: str, preset: str, network_s: float, encode_s: float) -> str:
    """What would save the most, where the encoder takes more than the network."""
    costs = COST_NS.get(encoder, {})
    if encode_s <= network_s or preset not in costs:
        return ""
    faster = [name for name, cost in costs.items() if cost < 0.7 * costs[preset]]
    if not faster:
        return "the encoder is the limit"
    best = max(faster, key=lambda name: costs[name])
    saved = (1 - costs[best] / costs[preset]) * encode_s / (network_s + encode_s)
    return f"the encoder is the limit: --preset {best} would save {100 * saved:.0f} % of the time"


def learn(outlook: Outlook, seconds: float) -> None:
    """Remember how far a run was from what was expected."""
    if outlook.seconds is None or seconds < 2:
        return
    kept = _corrections()
    before = kept.get(outlook.speed_key, 1.0)
    ratio = before * seconds / outlook.seconds
    kept[outlook.speed_key] = round(min(50.0, max(0.02, ratio * _MEMORY + before * (1 - _MEMORY))), 4)
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_output(folder / _FILE) as draft:
            draft.write_text(json.dumps(kept, indent=1))
    except OSError:
        return  # only estimates are the worse for it


def _corrections() -> dict[str, float]:
    try:
        found: Any = json.loads(Path(cache_folder() / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, Mapping):
        return {}
    return {str(key): float(value) for key, value in found.items() if isinstance(value, (int, float)) and 0.02 <= value <= 50}


def show_seconds(seconds: float) -> str:
    """9 s, 4 min, 1 h 20 min."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def show_bytes(size: float) -> str:
    """12 kB, 3.4 MB, 1.2 GB."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000 or unit == "GB":
            return f"{size:.2g} {unit}" if size < 10 else f"{size:.0f} {unit}"
    raise AssertionError
