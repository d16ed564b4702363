"""Carrier: a picture of the target size that has everything of the source but its luma, which the network makes.

Resampling luma only to write over it would cost 1.0 of the 1.5 ms that a whole carrier takes (854x480 to 1708x960, one Zen 4
core). Padding makes the picture instead, with all that FFmpeg attaches to a frame, and chroma is resampled by itself: as
a picture without subsampling, whose chroma location is given to swscale: 0.07 and 0.8 ms, and the same integers.
"""

from __future__ import annotations

import threading

import av
import numpy as np
from streamsr_kernels.chroma_sites import FIRST_CHROMA_SAMPLE

from streamsr.frame import Frame, Layout, find_layout
from streamsr.resample import FLAGS, ChainPool, FilterChain, GraphKey, Resampler, even_extension
from streamsr.side_data import find_kinds


class Carrier:
    """Brings frames of any size to width x height pixels; luma is left to the caller. Safe to call from many threads."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.whole = Resampler(width, height)  # luma as well
        self._padding = ChainPool(lambda key, _: FilterChain(key, [("pad", {"w": str(width), "h": str(height)})]))
        self._chroma: dict[GraphKey, ChainPool] = {}
        self._lock = threading.Lock()

    def __call__(self, video: av.VideoFrame, *, with_chroma: bool = True) -> av.VideoFrame:
        """A fresh frame that shares no memory with `video`; what its luma holds is not defined. See `Resampler` for the rest.

        with_chroma: False where chroma is left to the caller, too.
        """
        layout = find_layout(video.format.name)
        if layout is None or not self._pads(video, layout):
            return self.whole(video)
        result = self._padding(video)
        result.pict_type = 0  # type: ignore[assignment]
        result.color_range, result.colorspace = video.color_range, video.colorspace
        if layout.kind == "yuv" and with_chroma:
            self._put_chroma(Frame(video), Frame(result))
        return result

    def _pads(self, video: av.VideoFrame, layout: Layout) -> bool:
        """Whether padding does it. Not for side data: some says where in the picture it belongs, and swscale knows which."""
        sides = list(zip((video.width, video.height), (self.width, self.height), layout.log2_chroma, strict=True))
        return (
            layout.kind != "rgb" and not layout.alpha and not find_kinds(video) and not video.interlaced_frame
            and all(source < target and not target % (1 << log2) and not even_extension(source, target, log2)[0]
                    for source, target, log2 in sides)
        )  # fmt: skip

    def _put_chroma(self, source: Frame, result: Frame) -> None:
        bits = source.layout.bits
        height, width = source.planes[1].shape
        chroma = av.VideoFrame(width, height, "yuv444p" if bits == 8 else f"yuv444p{bits}le")
        for plane, samples in zip(Frame(chroma).planes[1:], source.planes[1:], strict=True):
            plane[:] = samples
        large = Frame(self._pool(source)(chroma))
        for plane, samples in zip(result.planes[1:], large.planes[1:], strict=True):
            np.copyto(plane, samples)

    def _pool(self, source: Frame) -> ChainPool:
        """The graphs that resample the chroma of such frames."""
        key = GraphKey.of(source.video)
        with self._lock:
            if key not in self._chroma:
                options = self._chroma_options(key, source)
                self._chroma[key] = ChainPool(lambda key, _: FilterChain(key, [("scale", options)]))
            return self._chroma[key]

    def _chroma_options(self, key: GraphKey, source: Frame) -> dict[str, str]:
        """Of FFmpeg's scale filter, for chroma planes as a picture of their own."""
        width, height = source.layout.plane_size(1, self.width, self.height)
        options = {"w": str(width), "h": str(height), "flags": FLAGS}
        if source.layout.log2_chroma == (0, 0):
            return options
        site = FIRST_CHROMA_SAMPLE.get(self.whole.location(key, source.video), FIRST_CHROMA_SAMPLE["left"])
        for axis, position, log2 in zip("hv", site, source.layout.log2_chroma, strict=True):
            shift = own_position(round(256 * position), log2)
            if shift:
                options |= {f"in_{axis}_chr_pos": str(shift), f"out_{axis}_chr_pos": str(shift)}
        return options


def own_position(position: int, log2_chroma: int) -> int:
    """Where chroma at `position` (in 256ths of a luma pixel, of one subsampled twice: 0 left, 128 between) is located, in chroma samples.

    0: in the middle of a sample, where swscale assumes it.
    """
    return ((position * ((1 << log2_chroma) - 1) + 128) >> log2_chroma) - 128 if log2_chroma else 0
