"""The baseline: Lanczos by FFmpeg's swscale. Needs no model and no runtime, and does any scale."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation

from streamsr.engines.engine import Chroma, State
from streamsr.errors import EngineError

FLAGS = Interpolation.LANCZOS | Interpolation.ACCURATE_RND
GRAY_BITS = {8: "gray", 9: "gray9le", 10: "gray10le", 12: "gray12le", 14: "gray14le", 16: "gray16le"}


class ResizeEngine:
    """Implements `streamsr.engines.Engine`."""

    name = "resize"
    device = "cpu"
    precision = "exact"
    reason = "the Lanczos baseline: FFmpeg's swscale, no network"

    def __init__(self, *, scale: int, bits: int, threads: int) -> None:
        if bits not in GRAY_BITS:
            raise EngineError(f"FFmpeg has no gray format of {bits} bits. Bits that work: {', '.join(map(str, GRAY_BITS))}.")
        self.scale = scale
        self.bits = bits
        self.concurrency = threads

    def prepare(self, height: int, width: int) -> None:
        """Nothing to compile."""

    def infer(self, luma: np.ndarray, out: np.ndarray, state: State = (), chroma: Chroma | None = None) -> State:
        """luma (h, w) -> out (scale * h, scale * w): see `Engine.infer`."""
        height, width = luma.shape
        video = av.VideoFrame(width, height, GRAY_BITS[self.bits])
        gray_samples(video, luma.dtype)[:] = luma
        # a fresh reformatter for each call: one that is shared would not be thread-safe
        large = video.reformat(width * self.scale, height * self.scale, interpolation=FLAGS, threads=1)
        np.copyto(out, gray_samples(large, luma.dtype))
        return ()

    def close(self) -> None:
        """Nothing to free."""


def gray_samples(video: av.VideoFrame, dtype: np.dtype) -> np.ndarray:
    """The samples of a gray frame, (h, w), sharing its memory."""
    plane = video.planes[0]
    stride = plane.line_size // dtype.itemsize
    return np.frombuffer(plane, dtype).reshape(video.height, stride)[:, : video.width]  # type: ignore[call-overload]
