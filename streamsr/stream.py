"""Stream: what one run of frames has in common, and what happens to each of its frames.

`admit` runs in the thread that brings the frames, in their order, and is short; the callable that it returns does the
work, in any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

import av
import numpy as np

from streamsr.colour import LUMA_BITS, LumaOfRgb
from streamsr.frame import Frame, Layout, find_layout
from streamsr.resample import CONVERT_FLAGS, Resampler, exact_side, planar_format, repeat_edge


class Enlarger(Protocol):
    """What a stream needs of its Upscaler."""

    def output_size(self, width: int, height: int, pix_fmt: str) -> tuple[int, int]: ...
    def enlarge(self, luma: np.ndarray, target: tuple[int, int], *, bits: int) -> np.ndarray | None: ...
    def count(self, *, reused: bool) -> None: ...


class Stream:
    """Frames of one run: they all leave with the size and pixel format that the first one got."""

    def __init__(self, upscaler: Enlarger, *, like: tuple[int, int, str] | None = None) -> None:
        self._upscaler = upscaler
        self._like = like  # width, height and pixel format to take for those of the first frame
        self._lock = threading.Lock()
        self._resampler: Resampler | None = None
        self._converter: Resampler | None = None
        self._pix_fmt = ""
        self._last: _Luma | None = None

    def admit(self, frame: Any) -> Callable[[], Any]:
        """Take the next frame, an av.VideoFrame, a Frame or an RGB array; returns what upscales it.

        The luma is copied here, so the caller may do with the frame what it likes after the result is there.
        """
        if isinstance(frame, np.ndarray):
            return lambda: Stream(self._upscaler).upscale_array(frame)
        if not isinstance(frame, (av.VideoFrame, Frame)):
            raise TypeError(f"Cannot upscale a {type(frame).__name__}; give av.VideoFrames, Frames or RGB arrays.")
        video = frame.video if isinstance(frame, Frame) else frame
        with self._lock:
            if self._resampler is None or self._converter is None:
                width, height, pix_fmt = self._like or (video.width, video.height, video.format.name)
                self._pix_fmt = planar_format(pix_fmt)
                size = self._upscaler.output_size(width, height, self._pix_fmt)
                self._resampler = Resampler(*size)
                self._converter = Resampler(pix_fmt=self._pix_fmt, flags=CONVERT_FLAGS)
            source = video if video.format.name == self._pix_fmt else self._converter(video)
            luma, reused = self._take_luma(Frame(source))
        keep_kind = Frame if isinstance(frame, Frame) else _same
        return lambda: keep_kind(self._finish(source, luma, reused))

    def upscale_array(self, rgb: np.ndarray) -> np.ndarray:
        """RGB (h, w, 3) uint8 or uint16, full range -> the upscaled array of the same type."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.uint16) or 0 in rgb.shape:
            raise ValueError(f"An RGB array is (h, w, 3) uint8 or uint16; this one is {rgb.shape} {rgb.dtype}.")
        video = av.VideoFrame(rgb.shape[1], rgb.shape[0], "gbrp" if rgb.dtype == np.uint8 else "gbrp16le")
        for plane, channel in zip(Frame(video).planes, (1, 2, 0), strict=True):
            plane[:] = rgb[..., channel]
        green, blue, red = Frame(self.admit(video)()).planes
        return np.stack([red, green, blue], axis=2)

    def _take_luma(self, frame: Frame) -> tuple[_Luma, bool]:
        """The luma to enlarge; that of the frame before where it is the same, bit for bit."""
        is_rgb = frame.layout.kind == "rgb"
        samples = LumaOfRgb.of(frame.video, frame.layout.bits).take(frame.planes) if is_rgb else frame.luma
        last = self._last
        if last is not None and last.samples.shape == samples.shape and np.array_equal(last.samples, samples):
            return last, True
        self._last = _Luma(samples if is_rgb else samples.copy())
        return self._last, False

    def _finish(self, source: av.VideoFrame, luma: _Luma, reused: bool) -> av.VideoFrame:
        assert self._resampler is not None
        carrier = self._resampler(source)
        layout = find_layout(carrier.format.name)
        assert layout is not None
        width, height = (
            exact_side(before, after, log2)
            for before, after, log2 in zip((source.width, source.height), (carrier.width, carrier.height), layout.log2_chroma, strict=True)
        )
        luma_hr = luma.enlarged(lambda: self._upscaler.enlarge(luma.samples, (width, height), bits=luma_bits(layout)))
        if luma_hr is not None:
            planes = Frame(carrier).planes
            if layout.kind == "rgb":
                LumaOfRgb.of(carrier, layout.bits).put(luma_hr, planes)
            else:
                planes[0][:height, :width] = luma_hr
                repeat_edge(planes[0], width, height)  # Note [Odd sizes] of streamsr.resample
        self._upscaler.count(reused=reused and luma_hr is not None)
        return carrier


def luma_bits(layout: Layout) -> int:
    """The bits of the luma that the network sees for frames of this layout."""
    return max(layout.bits, LUMA_BITS) if layout.kind == "rgb" else layout.bits


class _Luma:
    """Luma and, once one thread has made it, the enlarged luma, for all frames that show it."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples
        self._future: Future[np.ndarray | None] = Future()
        self._claim = threading.Lock()

    def enlarged(self, make: Callable[[], np.ndarray | None]) -> np.ndarray | None:
        """The result of `make`, which runs once; other threads wait for it."""
        if self._claim.acquire(blocking=False):
            try:
                self._future.set_result(make())
            except BaseException as error:
                self._future.set_exception(error)
        return self._future.result()


def _same(video: av.VideoFrame) -> av.VideoFrame:
    return video
