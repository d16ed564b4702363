"""Presets, quality and a limit of bits where the caller names none: chosen by measurement, by the cores there are, and by the source.

Note [Presets]
    Results of `lite` x2 of four clips, encoded and compared with what was encoded (benchmarks/encoder_presets.py, table in
    docs/encoding.md). A loss of VMAF-NEG of less than 2 points beside the slower preset is taken for invisible. With few cores the
    encoder takes most of the processor, so there the fastest preset that loses no more is the default: x264 veryfast has the bits of
    medium and loses 0.6 to 1.4 points at 32 to 50 % of its time; x265 superfast at crf 18 equals fast at crf 20 or is better, at 56 to
    84 %; SVT-AV1's preset 10 at crf 24 is within 0.4 points of 8 at crf 28 or better, at 45 to 68 %, for a quarter to a third more bits.

Note [Bits]
    What a source lost to its compression cannot be seen in the result, but its noise costs bits there: at the same quality, clips took
    3 to 5 times the bits of their sources, and one 17 times. The limit cuts that off. It is a rate over BUFFER_S seconds, so scenes may
    still differ; x264 and x265 keep it within each segment on their own.

Note [Memory]
    Of 3840x2160, x264 takes 27 MB for each frame that it looks ahead to and more for each that others refer to: 620 MB with the
    preset veryfast. Three frames of look-ahead, and no B-frames that others refer to, make it 340. A clip had 11 % fewer bits and 0.55 dB
    less then, which is what so many bits are worth: the quality's number means a little less, nothing else is lost.
"""

from __future__ import annotations

from dataclasses import replace

from ..options import LARGE_PIXELS, EncoderOptions
from .compression import video_rate
from .encoder_table import ENCODERS, Tuned
from .source import Source

_FRUGAL = {"libx264": {"rc-lookahead": "3", "b-pyramid": "none"}}  # for results of LARGE_PIXELS: Note [Memory]
FEW_CORES = 8  # fewer than these
# processor time of one core in ns a pixel of the result (Zen 4), from the same measurement: mean of the clips, for estimates
COST_NS = {
    "libx264": {"ultrafast": 5, "superfast": 12, "veryfast": 20, "faster": 31, "fast": 40, "medium": 48, "slow": 90},
    "libx265": {"ultrafast": 39, "superfast": 72, "veryfast": 87, "fast": 100, "medium": 150},
    "libsvtav1": {"12": 17, "11": 18, "10": 19, "9": 25, "8": 35, "7": 50, "6": 80},
}
_TIMES = 2.0  # the bits of the source, by pixels to the power of _POWER, that a result may take
_POWER = 0.75
_LEAST_BITS = 0.04  # a pixel of the result: what is never denied
# how many bits H.264 takes for the picture that one bit of these codecs makes
_WORTH = {"hevc": 1.6, "vp9": 1.5, "av1": 1.9, "vvc": 2.2, "vp8": 0.9, "h264": 1.0, "mpeg4": 0.7, "mpeg2video": 0.5, "mpeg1video": 0.4}
_NEEDS = {"libx264": 1.0, "libx265": 0.7}


def settle_encoder(wanted: EncoderOptions, encoder: str, *, cores: int, source: Source, size: tuple[int, int]) -> EncoderOptions:
    """`wanted` with what the caller left open. encoder: FFmpeg's name; size: (width, height) of the result."""
    row = ENCODERS.get(encoder)
    if row is None or wanted.live or wanted.realtime:
        return wanted
    few = row.few_cores if cores < FEW_CORES else None
    tuned = few or Tuned(row.speed, row.quality)
    has_rate = bool((wanted.options or {}).keys() & {"qp", "b", "cqp", "crf", "cq", "maxrate"})
    preset, crf = wanted.preset, wanted.crf
    if preset is None and row.preset and row.preset not in (wanted.options or {}):
        preset = tuned.preset
    if crf is None and row.crf and not has_rate and preset == tuned.preset:
        crf = tuned.quality
    options = wanted.options
    if few is not None and preset == tuned.preset and size[0] * size[1] >= LARGE_PIXELS and encoder in _FRUGAL:
        options = _FRUGAL[encoder] | dict(options or {})
    limit = wanted.max_bit_rate_bps
    if limit is None and wanted.crf is None and not has_rate and row.vbv and encoder in _NEEDS:
        limit = limit_of(source, encoder, size)
    return replace(wanted, preset=preset, crf=crf, max_bit_rate_bps=limit, options=options)


def limit_of(source: Source, encoder: str, size: tuple[int, int]) -> int | None:
    """Bits a second that the result may take; None where the source's are unknown, or it is no compressed video."""
    worth = _WORTH.get(source.stream.codec_context.codec.canonical_name)
    rate = video_rate(source)
    if worth is None or not rate:
        return None
    pixels = size[0] * size[1]
    enlarged = max(1.0, pixels / (source.tags.width * source.tags.height))
    allowed = _TIMES * rate * worth * enlarged**_POWER * _NEEDS[encoder]
    return round(max(allowed, _LEAST_BITS * pixels * float(source.rate)))


def encode_seconds(encoder: str, preset: str | None, pixels: int, *, cores: int) -> float | None:
    """About the time of encoding so many pixels with all cores; None for encoders that were not measured."""
    costs = COST_NS.get(encoder)
    if costs is None:
        return None
    cost = costs.get(preset or ENCODERS[encoder].speed)
    return None if cost is None else cost * 1e-9 * pixels / cores
