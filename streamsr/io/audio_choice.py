"""Audio choice: what audio is encoded to where a container does not take its packets, and as what.

Lossless audio stays lossless where the container has a codec for that: PCM of the same bits or FLAC in Matroska, ALAC in mp4 and mov.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
from av.codec.codec import Properties

from .containers import OutputFormat

_LOSSLESS = {"matroska": "flac", "mp4": "alac", "mov": "alac", "nut": "flac"}
_PCM = ("matroska", "mov", "nut", "avi", "mxf")  # muxers that hold it
_USUAL = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_BPS_A_CHANNEL = 96_000


@dataclass(frozen=True, slots=True)
class AudioChoice:
    """How to encode an audio stream; all of it has been tried."""

    encoder: str  # FFmpeg's name
    layout: str
    rate: int
    format: str  # of the samples
    bit_rate: int  # 0: lossless
    is_mixed: bool  # channels get lost


def choose_audio(context: av.AudioCodecContext, output: OutputFormat) -> AudioChoice | None:
    """The first encoder, layout and rate that opens; None where none does."""
    layout = context.layout.name
    if any(channel.name == "NONE" for channel in context.layout.channels):  # an AVI says "2 channels" without saying which
        layout = _USUAL.get(context.channels, "stereo")
    for encoder in _encoders(context, output):
        codec = av.Codec(encoder, "w")
        sample_format = _closest_format(context.format.name, [found.name for found in codec.audio_formats or []])
        rate = output.audio_rate_hz or _closest_rate(context.sample_rate, codec.audio_rates or [])
        usual = _USUAL.get(context.channels, "stereo")
        # AAC has a number for each usual layout, and a table that half of all players cannot read for the others
        candidates = [usual, layout] if encoder == "aac" and layout.endswith("(side)") else [layout, usual]
        for number, candidate in enumerate([*candidates, "stereo"]):
            bit_rate = 0 if is_lossless(codec) else _BPS_A_CHANNEL * av.AudioLayout(candidate).nb_channels
            choice = AudioChoice(encoder, candidate, rate, sample_format, bit_rate, number == 2 and context.channels > 2)
            if _opens(choice):
                return choice
    return None


def is_lossless(codec: av.Codec) -> bool:
    """Whether the codec only knows lossless coding."""
    properties = codec.properties
    return bool(properties & Properties.LOSSLESS.value) and not properties & Properties.LOSSY.value  # type: ignore[operator]


def _encoders(context: av.AudioCodecContext, output: OutputFormat) -> Iterator[str]:
    is_pcm = context.codec.canonical_name.startswith("pcm_")
    lossless = is_pcm or is_lossless(context.codec)
    if lossless and output.muxer in _PCM and (is_pcm or output.muxer not in _LOSSLESS):
        same = {"s16": "pcm_s16le", "s16p": "pcm_s16le", "flt": "pcm_f32le", "dbl": "pcm_f64le"}.get(context.format.name, "pcm_s24le")
        yield same if output.audio_codecs is None or same in output.audio_codecs else "pcm_s24le"
    if lossless and output.muxer in _LOSSLESS:
        yield _LOSSLESS[output.muxer]
    if output.muxer == "avi" and context.channels > 2:
        yield "ac3"  # MP3 has two channels
    if output.audio is not None:
        yield output.audio


def _closest_format(wanted: str, known: list[str]) -> str:
    """The format with the fewest bits that holds the source's; the one with most where none does."""
    bits = _bits(wanted)
    enough = [name for name in known if _bits(name) >= bits]
    return min(enough, key=_bits) if enough else max(known, key=_bits) if known else wanted


def _bits(sample_format: str) -> int:
    numbers = re.findall(r"\d+", sample_format)
    return int(numbers[0]) if numbers else {"flt": 32, "fltp": 32, "dbl": 64, "dblp": 64}[sample_format]


def _closest_rate(wanted: int, known: list[int]) -> int:
    """The rate itself, the next higher one, or the highest."""
    higher = [rate for rate in known if rate >= wanted]
    return wanted if not known else min(higher) if higher else max(known)


def _opens(choice: AudioChoice) -> bool:
    context = av.CodecContext.create(choice.encoder, "w")
    assert isinstance(context, av.AudioCodecContext)
    context.layout, context.sample_rate, context.format = choice.layout, choice.rate, choice.format
    context.bit_rate = choice.bit_rate
    try:
        context.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True
