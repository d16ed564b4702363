"""Exact resampling by FFmpeg's swscale: whole pictures with their metadata, planar conversion, plane resizing.

A resampled picture has the input's pts, duration, colour tags and side data, and chroma and alpha at the right place. At
854x480 to 1708x960 it costs 1.5 ms of one Zen 4 core. Where a network makes the luma, streamsr.upscaling.chroma does with less.

Note [Chroma siting]
    4:2:0 chroma samples are located beside luma samples ("left": MPEG-2, H.264), between them ("center": JPEG, MPEG-1) or on
    them ("topleft": BT.2020). The `scale` filter ignores the location that a frame carries and resamples as if it were
    "center", which moves "left" chroma by half an output pixel at x2; only its options `in_chroma_loc` and
    `out_chroma_loc` count. PyAV does not show a frame's location, so it is read from FFmpeg's own structure
    (streamsr.siting). Untagged video is sited left, as H.264 and H.265 specify, and stays untagged.

Note [Odd sizes]
    The chroma plane of a picture 161 wide has 81 samples, which reach to column 162. Bringing 81 samples to the 161 of
    a picture 322 wide would stretch them by 1.988, not 2, so chroma would drift by up to a sample. Where the ratio is a
    whole number, the picture is scaled to 324 and cropped, and luma and alpha, which that stretches, are done again.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext

from streamsr.frame import Layout, find_layout, plane_view
from streamsr.siting import CHROMA_LOCATIONS, find_chroma_location

# Chroma of Set14 at half size and back: 48.01 dB with these flags at 1.65 ms a frame of 854x480 (one Zen 4 core), bicubic
# 47.68 at 0.88, bilinear 46.52. Without accurate_rnd lanczos takes 1.25 ms and is 0.06 codes too dark.
FLAGS = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
CONVERT_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
TICKS = Fraction(1, 1_000_000)  # the graphs' own time base: pts pass through untouched, whatever theirs is
MAX_GRAPHS = 8  # idle graphs kept; a graph is built in 0.3 ms


class GraphKey(NamedTuple):
    """What a filter graph is built for; a frame that differs in any of these needs another graph."""

    width: int
    height: int
    pix_fmt: str
    colorspace: int
    color_range: int

    @classmethod
    def of(cls, video: av.VideoFrame) -> GraphKey:
        return cls(video.width, video.height, video.format.name, int(video.colorspace), int(video.color_range))


class FilterChain:
    """A linear filter graph, one frame in, one frame out."""

    def __init__(self, key: GraphKey, filters: list[tuple[str, dict[str, str]]], *, threads: int = 1) -> None:
        self._graph = Graph()
        self._graph.threads = threads
        self._source = self._graph.add(
            "buffer",
            video_size=f"{key.width}x{key.height}",
            pix_fmt=key.pix_fmt,
            time_base=str(TICKS),
            # without them libavfilter warns that the first frame's properties differ, and builds the graph again
            colorspace=str(key.colorspace),
            range=str(key.color_range if key.color_range in (1, 2) else 0),
        )
        last: FilterContext = self._source
        for name, options in filters:
            context = self._graph.add(name, **options) if options else self._graph.add(name)
            last.link_to(context)
            last = context
        self._sink = self._graph.add("buffersink")
        last.link_to(self._sink)
        self._graph.configure()

    def __call__(self, video: av.VideoFrame) -> av.VideoFrame:
        self._source.push(video)
        result = self._sink.pull()
        assert isinstance(result, av.VideoFrame)
        if video.time_base is not None:
            result.time_base = video.time_base
        return result


class ChainPool:
    """Filter graphs for frames that may change: one for each thread that needs one, kept for the next frame like it."""

    def __init__(self, build: Callable[[GraphKey, av.VideoFrame], FilterChain]) -> None:
        self._build = build
        self._idle: queue.LifoQueue[tuple[GraphKey, FilterChain]] = queue.LifoQueue()

    def __call__(self, video: av.VideoFrame) -> av.VideoFrame:
        key = GraphKey.of(video)
        chain = self._take(key) or self._build(key, video)
        result = chain(video)
        if self._idle.qsize() < MAX_GRAPHS:
            self._idle.put((key, chain))
        return result

    def _take(self, key: GraphKey) -> FilterChain | None:
        """An idle graph for `key`; idle ones for other keys are dropped, as the stream has changed."""
        while True:
            try:
                idle_key, chain = self._idle.get_nowait()
            except queue.Empty:
                return None
            if idle_key == key:
                return chain


class Resampler:
    """Brings frames of any size to one size, everything else about them unchanged. Safe to call from many threads.

    width, height: the target, in pixels; by default the size of the frame that comes in.
    pix_fmt: the format of the result; by default that of the frame that comes in.
    """

    def __init__(
        self, width: int | None = None, height: int | None = None, *, pix_fmt: str | None = None, flags: str = FLAGS, threads: int = 1
    ) -> None:
        self.width = width
        self.height = height
        self._pix_fmt = pix_fmt
        self._flags = flags
        self._threads = threads
        self._chains = ChainPool(self._build)
        self._locations: dict[GraphKey, str] = {}

    def __call__(self, video: av.VideoFrame) -> av.VideoFrame:
        """A fresh frame of the target size that shares no memory with `video`.

        It carries `video`'s pts, duration, time base, colour tags and side data; its picture type is cleared, because a
        picture yet to be encoded has none (an encoder would take it for a request).
        Raises ValueError for a pixel format that swscale cannot read.
        """
        result = self._chains(video)
        if (video.width, video.height) == (result.width, result.height):
            result.make_writable()  # FFmpeg hands the very same picture on where there is nothing to scale
        result.pict_type = 0  # type: ignore[assignment]
        if result.format.is_rgb == video.format.is_rgb:
            # libavfilter retags gray and RGB as full range, though it leaves the samples alone
            result.color_range, result.colorspace = video.color_range, video.colorspace
        self._redo_full_planes(video, result)
        return result

    def _redo_full_planes(self, video: av.VideoFrame, result: av.VideoFrame) -> None:
        """Resample luma and alpha where Note [Odd sizes] stretched them."""
        layout = find_layout(video.format.name)
        if layout is None or layout.kind != "yuv" or result.format.name != video.format.name:
            return
        sides = list(zip((video.width, video.height), (result.width, result.height), layout.log2_chroma, strict=True))
        if not any(even_extension(*side)[0] for side in sides):
            return
        width, height = (exact_side(*side) for side in sides)
        for index in (0, 3) if layout.alpha else (0,):
            plane = plane_view(result, index, layout)
            resize_plane(plane_view(video, index, layout), width, height, bits=layout.bits, out=plane[:height, :width])
            repeat_edge(plane, width, height)

    def location(self, key: GraphKey, video: av.VideoFrame) -> str:
        """The chroma location of such frames: see `find_chroma_location`, asked once."""
        if key not in self._locations:
            self._locations[key] = find_chroma_location(video)
        return self._locations[key]

    def _build(self, key: GraphKey, video: av.VideoFrame) -> FilterChain:
        pix_fmt = self._pix_fmt or key.pix_fmt
        layout = find_layout(key.pix_fmt)
        subsampled = layout is None or layout.log2_chroma != (0, 0)
        location = self.location(key, video) if subsampled else "unspecified"
        filters = scale_filters(
            key,
            self.width or key.width,
            self.height or key.height,
            pix_fmt=pix_fmt,
            location=location if subsampled else None,
            flags=self._flags,
        )
        try:
            return FilterChain(key, filters, threads=self._threads)
        except av.FFmpegError as error:
            raise ValueError(f"FFmpeg's swscale cannot bring {key.pix_fmt!r} to {pix_fmt!r}.") from error


def scale_filters(
    key: GraphKey, width: int, height: int, *, pix_fmt: str, location: str | None, flags: str
) -> list[tuple[str, dict[str, str]]]:
    """The filters that bring a frame to width x height; `location` is None where chroma is not subsampled."""
    layout = find_layout(key.pix_fmt)
    filters: list[tuple[str, dict[str, str]]] = []
    scaled_width, scaled_height = width, height
    if layout is not None and layout.log2_chroma != (0, 0):
        pad_x, ratio_x = even_extension(key.width, width, layout.log2_chroma[0])
        pad_y, ratio_y = even_extension(key.height, height, layout.log2_chroma[1])
        if pad_x:  # Note [Odd sizes]
            scaled_width = (key.width + pad_x) * ratio_x
        if pad_y:
            scaled_height = (key.height + pad_y) * ratio_y
    options = {"w": str(scaled_width), "h": str(scaled_height), "flags": flags}
    if location is not None:
        sited = location if location in CHROMA_LOCATIONS else "left"
        options |= {"in_chroma_loc": sited, "out_chroma_loc": sited}
    filters += [("scale", options), ("format", {"pix_fmts": pix_fmt})]
    if (scaled_width, scaled_height) != (width, height):
        filters.append(("crop", {"w": str(width), "h": str(height), "x": "0", "y": "0", "exact": "1"}))
    if location == "unspecified":
        filters.append(("setparams", {"chroma_location": "unspecified"}))
    return filters


def even_extension(source: int, target: int, log2_chroma: int) -> tuple[int, int]:
    """(pixels to add to `source`, ratio) of Note [Odd sizes]; nothing to add where the ratio is not a whole number.

    A target one above a multiple counts as whole where the source is odd: rounding to even made it so.
    """
    ratio, rest = divmod(target, source)
    added = -source % (1 << log2_chroma)
    if not added or ratio < 1 or rest > 1 or (ratio == 1 and rest == 0):
        return 0, 0
    return added, ratio


def exact_side(source: int, target: int, log2_chroma: int) -> int:
    """The side that the picture itself takes up in `target`: one less where rounding to even added a pixel."""
    added, ratio = even_extension(source, target, log2_chroma)
    return source * ratio if added else target


def repeat_edge(plane: np.ndarray, width: int, height: int) -> None:
    """Fill the area right of `width` and below `height` with the last column and row before it."""
    plane[:height, width:] = plane[:height, width - 1 : width]
    plane[height:] = plane[height - 1]


def convert(video: av.VideoFrame, pix_fmt: str) -> av.VideoFrame:
    """The same picture in another pixel format, as exactly as that format allows. Colour tags stay."""
    return Resampler(pix_fmt=pix_fmt, flags=CONVERT_FLAGS)(video)


def planar_format(pix_fmt: str) -> str:
    """The planar pixel format that holds all that `pix_fmt` does: "rgb24" -> "gbrp", "p010le" -> "yuv420p10le".

    Raises ValueError for formats without samples in host memory, and for those that swscale cannot read.
    """
    if find_layout(pix_fmt) is not None:
        return pix_fmt
    video_format = av.VideoFormat(pix_fmt)
    components = video_format.components
    if pix_fmt.startswith("yaf"):  # "Assertion c->srcBpc == 16 failed" would end the process
        raise ValueError(f"Pixel format {pix_fmt!r} (floating-point gray with alpha) is not supported; convert it first.")
    if not components and not video_format.has_palette:
        raise ValueError(f"Pixel format {pix_fmt!r} is not a picture in host memory; download or convert it first.")
    bits = max([component.bits for component in components], default=8)
    alpha = video_format.has_palette or any(component.is_alpha for component in components)
    gray = len(components) - alpha == 1 and not video_format.has_palette
    for depth in [depth for depth in (8, 9, 10, 12, 14, 16) if depth >= min(bits, 16)]:
        ending = "" if depth == 8 else f"{depth}le"
        if gray and not alpha:
            name = f"gray{ending}"
        elif video_format.is_rgb or video_format.has_palette or gray or pix_fmt.startswith(("xyz", "bayer")):
            name = f"gbr{'a' if alpha else ''}p{ending}"
        else:
            width, height = video_format.chroma_width(64), video_format.chroma_height(64)
            sampling = {(64, 64): "444", (32, 64): "422", (32, 32): "420", (16, 64): "411", (64, 32): "440", (16, 16): "410"}
            name = f"yuv{'a' if alpha else ''}{sampling[width, height]}p{ending}"
        if find_layout(name) is not None:
            return name
    raise ValueError(f"Pixel format {pix_fmt!r} has no planar counterpart of 8 to 16 bits.")


def to_planar(video: av.VideoFrame) -> av.VideoFrame:
    """`video` itself where its format is planar, else its picture in the planar format that holds all of it."""
    pix_fmt = planar_format(video.format.name)
    return video if pix_fmt == video.format.name else convert(video, pix_fmt)


GRAY_FORMATS = {8: "gray", 9: "gray9le", 10: "gray10le", 12: "gray12le", 14: "gray14le", 16: "gray16le"}


def resize_plane(plane: np.ndarray, width: int, height: int, *, bits: int, out: np.ndarray) -> None:
    """Resample one plane of `bits` bits, (h, w) uint8 or uint16, into out (height, width) of the same type."""
    layout = _gray(bits)
    source = av.VideoFrame(plane.shape[1], plane.shape[0], layout.name)
    plane_view(source, 0, layout)[:] = plane
    np.copyto(out, plane_view(Resampler(width, height)(source), 0, layout))


def resized_plane(plane: np.ndarray, resampler: Resampler, *, bits: int) -> np.ndarray:
    """One plane of `bits` bits, (h, w) uint8 or uint16, at the resampler's size, without a copy of what comes in or goes out.

    plane: rows from first to last in memory, with at least a row of the same memory behind the last one: swscale reads some bytes further.
    resampler: one for many planes. Each new one leaves a filter graph with a plane of memory to the garbage collector.
    """
    layout = _gray(bits)
    source = av.VideoFrame.from_numpy_buffer(plane, format=layout.name)
    return plane_view(resampler(source), 0, layout)


def _gray(bits: int) -> Layout:
    layout = find_layout(GRAY_FORMATS[bits])
    assert layout is not None
    return layout
