"""Compression: whether a source has been through it, as far as its container tells, and whether it is a picture."""

from __future__ import annotations

import os

import av
from av.codec.codec import Codec, Properties

from ..models import Form
from .containers import is_pattern, reads_images
from .source import Source

# Bits a pixel from which on coding leaves next to nothing to mend. Of three clips through x264 at CRF 4, 8, 12 and 16, `lite-clean` beat
# `lite` in VMAF-NEG and PSNR-Y from about 0.7, 0.8 and 1.7 bits a pixel on. Codecs without prediction from frame to frame need more of them
# for the same picture; how many was not measured.
CLEAN_BITS, CLEAN_BITS_INTRA = 1.0, 3.0


def form_of(source: Source) -> Form | None:
    """What the video is that another form of a model may serve better."""
    if is_picture(source):
        return "picture"
    return "clean" if is_clean(source) else None


def is_picture(source: Source) -> bool:
    """Whether the source is one picture: an image file that is no numbered one of many."""
    return reads_images(source.container.format.name) and source.url != "-" and not is_pattern(source.url)


def is_clean(source: Source) -> bool:
    """Whether the video is as good as uncompressed: by its codec, its profile, or its bits a pixel. False where nothing tells."""
    context = source.stream.codec_context
    if _can(context.codec, Properties.LOSSLESS) and not _can(context.codec, Properties.LOSSY):
        return True
    # x264 gives lossless video the one profile that allows it, whatever the format of the pixels
    if context.codec.canonical_name == "h264" and "4:4:4 Predictive" in (source.stream.profile or "") and "444" not in source.tags.pix_fmt:
        return True
    bits = bits_per_pixel(source)
    return bits is not None and bits >= (CLEAN_BITS_INTRA if _can(context.codec, Properties.INTRA_ONLY) else CLEAN_BITS)


def bits_per_pixel(source: Source) -> float | None:
    """Of the coded video, None where the container tells no rate. Audio counts where only the sum is known."""
    rate = video_rate(source)
    return None if not rate else rate / (source.tags.width * source.tags.height * float(source.coded_rate))


def video_rate(source: Source) -> float:
    """Bits a second of the coded video; 0 where the container tells none. Audio counts where only the sum is known."""
    rate: float = source.stream.bit_rate or _rest(source)
    duration_s = (source.container.duration or 0) / av.time_base
    if rate and duration_s > 0 and os.path.isfile(source.url):
        rate = min(rate, 8 * os.path.getsize(source.url) / duration_s)  # MPEG-2 may say 104,857,200 b/s, which means nothing
    return rate


def _can(codec: Codec, what: Properties) -> bool:
    return bool(codec.properties & what.value)  # type: ignore[operator]  # a plain number, whatever the stub says


def _rest(source: Source) -> int:
    """Bits a second of the whole file that no other stream claims; 0 where unknown."""
    claimed = sum(getattr(stream, "bit_rate", None) or 0 for stream in source.other_streams)
    return max(0, (source.container.bit_rate or 0) - claimed)
