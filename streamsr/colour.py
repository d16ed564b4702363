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

    def take_chroma(self, planes_GBR: Sequence[np.ndarray]) -> np.ndarray:
        """Studio Cb and Cr codes of `luma_bits` bits, uint16 (2, h, w), of G, B and R planes (h, w): rounded."""
        chroma = np.empty((2, *planes_GBR[0].shape), np.uint16)
        max_code = float((1 << self.luma_bits) - 1)
        for top in range(0, chroma.shape[1], BAND_ROWS):
            band = slice(top, top + BAND_ROWS)
            green, blue, red = (plane[band] for plane in planes_GBR[:3])
            luma = self._exact((green, blue, red)) - np.float32(self.offset)
            for index, (colour, gain) in enumerate(zip((blue, red), self._chroma_gains, strict=True)):
                difference = (colour * np.float32(self.gain) - luma) * np.float32(gain)
                chroma[index, band] = np.clip(np.rint(difference + self._middle), 0, max_code)
        return chroma

    def put_all(self, luma: np.ndarray, chroma: np.ndarray, planes_GBR: Sequence[np.ndarray]) -> None:
        """Write G, B and R planes (h, w) whose luma is `luma` (h, w) and whose Cb and Cr are `chroma` (2, h, w)."""
        max_code = float((1 << self.bits) - 1)
        red_weight, green_weight, blue_weight = self.weights
        for top in range(0, len(luma), BAND_ROWS):
            band = slice(top, top + BAND_ROWS)
            grey = luma[band].astype(np.float32) - np.float32(self.offset)
            blue, red = (
                grey + (codes[band].astype(np.float32) - np.float32(self._middle)) / np.float32(gain)
                for codes, gain in zip(chroma, self._chroma_gains, strict=True)
            )
            green = (grey - np.float32(blue_weight) * blue - np.float32(red_weight) * red) / np.float32(green_weight)
            for plane, codes in zip(planes_GBR[:3], (green, blue, red), strict=True):
                plane[band] = np.clip(np.rint(codes / np.float32(self.gain)), 0, max_code)

    @property
    def _middle(self) -> float:
        """The code of no colour."""
        return float(1 << (self.luma_bits - 1))

    @property
    def _chroma_gains(self) -> tuple[float, float]:
        """Codes of Cb and Cr for a code of luma's size in B - Y and R - Y: ITU-R BT.601-7 section 2.5.2, in 224 steps to luma's 219."""
        red, _, blue = self.weights
        return 224 / 219 / 2 / (1 - blue), 224 / 219 / 2 / (1 - red)

    def _exact(self, planes_GBR: Sequence[np.ndarray]) -> np.ndarray:
        """Luma as float32, not rounded."""
        red, green, blue = (np.float32(weight * self.gain) for weight in self.weights)
        luma = planes_GBR[0] * green
        luma += planes_GBR[1] * blue
        luma += planes_GBR[2] * red
        luma += np.float32(self.offset)
        return luma
