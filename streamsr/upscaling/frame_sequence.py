"""FrameSequence: what one run of frames has in common, and what happens to each of its frames.

`admit` runs in the thread that brings the frames, in their order, and is short; the callable that it returns does the
work, in any thread.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

import av
import numpy as np

from streamsr.colour import LUMA_BITS, LumaOfRgb
from streamsr.engines import State
from streamsr.frame import Frame, Layout
from streamsr.resample import CONVERT_FLAGS, GraphKey, Resampler, exact_side, planar_format, repeat_edge
from streamsr.upscaling.chroma import Carrier
from streamsr.upscaling.chroma_grid import ChromaResampler, grid_of
from streamsr.upscaling.recurrence import AnyOrder, Enlarged, InOrder, Luma, SourceChroma
from streamsr.upscaling.scene_cuts import Continuity
from streamsr.upscaling.source_condition import Condition


class Enlarger(Protocol):
    """What a stream needs of its Upscaler."""

    @property
    def is_recurrent(self) -> bool: ...
    def output_size(self, width: int, height: int, pix_fmt: str) -> tuple[int, int]: ...
    @property
    def has_chroma(self) -> bool: ...
    def condition_of(self, luma: np.ndarray, bits: int) -> Condition: ...
    def enlarge(
        self, luma: np.ndarray, target: tuple[int, int], *, bits: int, states: dict[int, State], chroma: SourceChroma | None,
        is_picture: bool = False,
    ) -> Enlarged | None: ...  # fmt: skip
    def count(self, *, reused: bool) -> None: ...


class FrameSequence:
    """Frames of one run: they all leave with the size and pixel format that the first one got.

    Note [State]: a recurrent network sees the frames in their order, one at a time. Its state starts at zeros, and does so
    again where a frame does not go on from the last one (streamsr.upscaling.scene_cuts: seeks, other sizes, scene cuts) and after a
    frame that failed. A frame equal to the last one is not shown to the network again: its luma is reused, and the state
    stays what it was, so what stands still looks still.
    """

    def __init__(self, upscaler: Enlarger, *, like: tuple[int, int, str] | None = None, is_picture: bool = False) -> None:
        self._upscaler = upscaler
        self._is_picture = is_picture  # one frame alone
        self._like = like  # width, height and pixel format to take for those of the first frame
        self._lock = threading.Lock()
        self._carrier: Carrier | None = None
        self._converter: Resampler | None = None
        self._pix_fmt = ""
        self._last: Luma | None = None
        self._condition: Condition | None = None  # of the source, found in its first frame
        self._to_result = ChromaResampler()
        self._size = (0, 0)
        enlarge = functools.partial(upscaler.enlarge, is_picture=is_picture)
        self._order: AnyOrder | InOrder = (InOrder if upscaler.is_recurrent else AnyOrder)(enlarge)
        self._continuity = Continuity() if upscaler.is_recurrent else None
        self._arrays: FrameSequence | None = None  # of RGB arrays among the frames
        self._array_kind: tuple[Any, ...] = ()

    def admit(self, frame: Any) -> Callable[[], Any]:
        """Take the next frame, an av.VideoFrame, a Frame or an RGB array; returns what upscales it.

        The luma is copied here, so the caller may do with the frame what it likes after the result is there.
        """
        if isinstance(frame, np.ndarray):
            return self._admit_array(frame)
        if not isinstance(frame, (av.VideoFrame, Frame)):
            raise TypeError(f"Cannot upscale a {type(frame).__name__}; give av.VideoFrames, Frames or RGB arrays.")
        video = frame.video if isinstance(frame, Frame) else frame
        with self._lock:
            if self._carrier is None or self._converter is None:
                width, height, pix_fmt = self._like or (video.width, video.height, video.format.name)
                self._pix_fmt = planar_format(pix_fmt)
                size = self._upscaler.output_size(width, height, self._pix_fmt)
                self._size = size
                self._carrier = Carrier(*size)
                self._converter = Resampler(pix_fmt=self._pix_fmt, flags=CONVERT_FLAGS)
            source = video if video.format.name == self._pix_fmt else self._converter(video)
            luma, reused = self._take_luma(Frame(source))
        keep_kind = Frame if isinstance(frame, Frame) else _same
        return lambda: keep_kind(self._finish(source, luma, reused))

    def _admit_array(self, rgb: np.ndarray) -> Callable[[], np.ndarray]:
        """RGB (h, w, 3) uint8 or uint16, full range -> what upscales it. Arrays of one shape and type are one stream."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype not in (np.uint8, np.uint16) or 0 in rgb.shape:
            raise ValueError(f"An RGB array is (h, w, 3) uint8 or uint16; this one is {rgb.shape} {rgb.dtype}.")
        video = av.VideoFrame(rgb.shape[1], rgb.shape[0], "gbrp" if rgb.dtype == np.uint8 else "gbrp16le")
        for plane, channel in zip(Frame(video).planes, (1, 2, 0), strict=True):
            plane[:] = rgb[..., channel]
        with self._lock:
            if self._arrays is None or self._array_kind != (rgb.shape, rgb.dtype):
                self._arrays, self._array_kind = FrameSequence(self._upscaler, is_picture=self._is_picture), (rgb.shape, rgb.dtype)
            finish = self._arrays.admit(video)

        def stack() -> np.ndarray:
            green, blue, red = Frame(finish()).planes
            return np.stack([red, green, blue], axis=2)

        return stack

    def _take_luma(self, frame: Frame) -> tuple[Luma, bool]:
        """The luma to enlarge; that of the frame before where it is the same, bit for bit."""
        is_rgb = frame.layout.kind == "rgb"
        samples = LumaOfRgb.of(frame.video, frame.layout.bits).take(frame.planes) if is_rgb else frame.luma
        bits = luma_bits(frame.layout)
        goes_on = True
        if self._continuity is not None:
            time_base = None if frame.video.time_base is None else float(frame.video.time_base)
            goes_on = self._continuity.time_goes_on(frame.video.pts, time_base)
        last = self._last
        chroma = self._chroma_of(frame, samples, bits) if self._upscaler.has_chroma else None
        if goes_on and last is not None and _equal(last.samples, samples) and _equal_chroma(last.chroma, chroma):
            return last, True
        if self._continuity is not None:
            goes_on = self._continuity.picture_goes_on(samples, bits) and goes_on
        sides = zip((frame.video.width, frame.video.height), self._size, frame.layout.log2_chroma, strict=True)
        width, height = (exact_side(*side) for side in sides)
        self._last = Luma(samples if is_rgb else samples.copy(), (width, height), bits, chroma)
        self._order.add(self._last, goes_on=goes_on)
        return self._last, False

    def _chroma_of(self, frame: Frame, luma: np.ndarray, bits: int) -> SourceChroma:
        """The frame's chroma, and what networks are told about the source. luma: of `bits` bits, as they see it."""
        assert self._carrier is not None
        if self._condition is None:
            self._condition = self._upscaler.condition_of(luma, bits)
        on_luma = grid_of(frame.layout, "center")
        if frame.layout.kind == "rgb":
            return SourceChroma(LumaOfRgb.of(frame.video, frame.layout.bits).take_chroma(frame.planes), on_luma, self._condition)
        if frame.layout.kind == "gray":
            return SourceChroma(np.full((2, *luma.shape), 1 << (bits - 1), luma.dtype), on_luma, self._condition)
        return SourceChroma(np.stack(frame.planes[1:3]), grid_of(frame.layout, self._location(frame)), self._condition)

    def _location(self, frame: Frame) -> str:
        """Where its chroma lies."""
        assert self._carrier is not None
        if frame.layout.log2_chroma == (0, 0):
            return "center"
        return self._carrier.whole.location(GraphKey.of(frame.video), frame.video)

    def _finish(self, source: av.VideoFrame, luma: Luma, reused: bool) -> av.VideoFrame:
        assert self._carrier is not None
        width, height = luma.target
        made = self._order.enlarge(luma)
        if made is None:
            carrier = self._carrier.whole(source)
        else:
            carrier = self._carrier(source, with_chroma=made.chroma is None)
            self._put(made, Frame(carrier), Frame(source), (height, width))
        self._upscaler.count(reused=reused and made is not None)
        return carrier

    def _put(self, made: Enlarged, carrier: Frame, source: Frame, size: tuple[int, int]) -> None:
        """What the network made into the carrier; size: rows and columns of it that the picture takes up."""
        height, width = size
        layout, planes = carrier.layout, carrier.planes
        if layout.kind == "rgb":
            colour = LumaOfRgb.of(carrier.video, layout.bits)
            if made.chroma is None or made.grid is None:
                colour.put(made.luma, planes)
            else:
                target = grid_of(layout, "center")
                colour.put_all(made.luma, self._to_result(made.chroma, made.grid, target, size, bits=colour.luma_bits), planes)
            return
        planes[0][:height, :width] = made.luma
        repeat_edge(planes[0], width, height)  # Note [Odd sizes] of streamsr.resample
        if layout.kind == "yuv" and made.chroma is not None and made.grid is not None:
            shape = (planes[1].shape[0], planes[1].shape[1])
            chroma = self._to_result(made.chroma, made.grid, grid_of(layout, self._location(source)), shape, bits=layout.bits)
            for plane, samples in zip(planes[1:3], chroma, strict=True):
                plane[:] = samples


def luma_bits(layout: Layout) -> int:
    """The bits of the luma that the network sees for frames of this layout."""
    return max(layout.bits, LUMA_BITS) if layout.kind == "rgb" else layout.bits


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.array_equal(one, other)


def _equal_chroma(one: SourceChroma | None, other: SourceChroma | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.grid == other.grid and one.condition == other.condition and _equal(one.planes, other.planes)


def _same(video: av.VideoFrame) -> av.VideoFrame:
    return video
