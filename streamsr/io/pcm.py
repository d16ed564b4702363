"""PCM: packets of uncompressed audio can be cut anywhere, so that a range of time gets all of its audio."""

from __future__ import annotations

import re
from fractions import Fraction

import av

_PLAIN = re.compile(r"pcm_[suf](\d+)(?:le|be)?|pcm_[am]u?law")  # samples alone, channel after channel: no headers, no planes


def trim_pcm(packet: av.Packet, start_s: Fraction | None, end_s: Fraction | None) -> av.Packet | None:
    """The part of a packet between two times, in seconds; None where there is none, the packet itself where it is not PCM."""
    context = packet.stream.codec_context
    name = context.codec.canonical_name if isinstance(context, av.AudioCodecContext) else ""
    plain = _PLAIN.fullmatch(name)
    if plain is None or packet.pts is None or not packet.size:
        return packet
    assert isinstance(context, av.AudioCodecContext)
    block, rate = int(plain.group(1) or 8) // 8 * context.channels, context.sample_rate
    if not block or not rate or packet.size % block:
        return packet
    begin_s, num_samples = packet.pts * packet.time_base, packet.size // block
    first = 0 if start_s is None else min(max(0, -int(-(start_s - begin_s) * rate // 1)), num_samples)
    last = num_samples if end_s is None else min(max(0, -int(-(end_s - begin_s) * rate // 1)), num_samples)
    if (first, last) == (0, num_samples):
        return packet
    if first >= last:
        return None
    result = av.Packet(bytes(packet)[first * block : last * block])
    result.time_base, result.is_keyframe, result.stream = packet.time_base, packet.is_keyframe, packet.stream
    result.pts = result.dts = packet.pts + round(first / (rate * packet.time_base))
    result.duration = round((last - first) / (rate * packet.time_base))
    return result
