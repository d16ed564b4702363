"""What a frame's numbers mean: the luma of RGB, and putting another luma into RGB.

The networks are trained on studio luma: 16 .. 235 in 8 bits (ITU-R BT.601 section 2.5.3), 64 .. 940 in 10. RGB is taken
there, upscaled, and the difference it makes is added to all three colours, so that colour differences are left alone
and there is no round trip through YUV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np

BT601 = (0.299, 0.587, 0.114)  # ITU-R BT.601-7 section 2.5.1
BT709 = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709-6 section 3.2
BT2020 = (0.2627, 0.6780, 0.0593)  # ITU-R BT.2020-2 table 4
# by ITU-T H.273 table 2, colour primaries: what an RGB frame says about itself
WEIGHTS_BY_PRIMARIES = {1: BT709, 9: BT2020}
LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG
BAND_ROWS = 64  # rows at a time: 64 rows of 4096 floats are 1 MiB, which stays in the cache


# Luma of RGB is no whole code. In 12 bits rather than 8 it costs bf16 instead of int8, and gives Set14 0.04 dB more.
LUMA_BITS = 12


@dataclass(frozen=True, slots=True)
class LumaOfRgb:
    """How to get studio luma codes from RGB codes: luma = offset + gain * (weights . RGB)."""

    weights: tuple[float, float, float]  # of R, G, B; they sum to 1
    offset: float
    gain: float
    bits: int  # of R, G and B
    luma_bits: int  # of the luma codes

    @classmethod
    def of(cls, video: av.VideoFrame, bits: int) -> LumaOfRgb:
        """For a gbrp frame of `bits` bits, by its tags. Untagged RGB is full range with BT.601 weights."""
        weights = WEIGHTS_BY_PRIMARIES.get(int(video.color_primaries), BT601)
        luma_bits = max(bits, LUMA_BITS)
        if int(video.color_range) == LIMITED:
            return cls(weights, 0.0, float(1 << (luma_bits - bits)), bits, luma_bits)
        step = 1 << (luma_bits - 8)
        return cls(weights, 16.0 * step, 219.0 * step / ((1 << bits) - 1), bits, luma_bits)

    def take(self, planes_GBR: Sequence[np.ndarray]) -> np.ndarray:
        """The luma codes, uint16 (h, w), of G, B and R planes (h, w): rounded."""
        luma = np.empty(planes_GBR[0].shape, np.uint16)
        for top in range(0, len(luma), BAND_ROWS):
            band = slice(top, top + BAND_ROWS)
            luma[band] = np.rint(self._exact([plane[band] for plane in planes_GBR]))
        return luma

    def put(self, luma: np.ndarray, planes_GBR: Sequence[np.ndarray]) -> None:
        """Change G, B and R planes (h, w) in place so that their luma is `luma` (h, w); the same is added to each."""
        max_code = float((1 << self.bits) - 1)
        for top in range(0, len(luma), BAND_ROWS):
            band = slice(top, top + BAND_ROWS)
            rows = [plane[band] for plane in planes_GBR[:3]]
            change = (luma[band].astype(np.float32) - self._exact(rows)) * np.float32(1 / self.gain)
            for row in rows:
                row[:] = np.clip(np.rint(row + change), 0, max_code)

    def _exact(self, planes_GBR: Sequence[np.ndarray]) -> np.ndarray:
        """Luma as float32, not rounded."""
        red, green, blue = (np.float32(weight * self.gain) for weight in self.weights)
        luma = planes_GBR[0] * green
        luma += planes_GBR[1] * blue
        luma += planes_GBR[2] * red
        luma += np.float32(self.offset)
        return luma
