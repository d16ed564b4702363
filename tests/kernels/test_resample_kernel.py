"""Resampling: the kernel against NumPy bit by bit, and both against FFmpeg's swscale."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from av.filter import Graph
from hypothesis import given, settings
from hypothesis import strategies as st
from on_host import HostDevice
from streamsr_kernels import chroma_site, resample, resample_reference
from streamsr_kernels.chroma_sites import FIRST_CHROMA_SAMPLE
from streamsr_kernels.filters import ONE_ACROSS, ONE_DOWN, make_taps

from streamsr.frame import Frame, find_layout
from streamsr.resample import Resampler

# rounding inside swscale's vector code may differ from its C code's
SWSCALE_CODES = 1
FLAGS = "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
GRAY = {8: "gray", 9: "gray9le", 10: "gray10le", 12: "gray12le", 14: "gray14le", 16: "gray16le"}
SIZES = [
    ((64, 48), (128, 96)), ((61, 33), (122, 66)), ((50, 40), (75, 61)), ((97, 71), (40, 31)), ((64, 48), (64, 96)), ((33, 90), (199, 11)),
    ((4, 3), (9, 8)), ((300, 20), (19, 20)), ((2, 2), (5, 5)), ((1, 1), (4, 4)), ((640, 8), (1920, 8)), ((8, 854), (8, 1281)),
]  # fmt: skip


def picture(width: int, height: int, bits: int, seed: int = 0) -> np.ndarray:
    """Noise, black and white edges and waves: overshoots and every code."""
    rng = np.random.default_rng(seed)
    top = (1 << bits) - 1
    plane = rng.integers(0, top + 1, (height, width))
    plane[:, width // 3 : width // 2] = 0
    plane[height // 2 :, width // 2 :] = top
    y, x = np.mgrid[:height, :width]
    waves = np.rint((np.sin(x * 0.7 + y * 0.3) + 1) / 2 * top).astype(int)
    plane = np.where((y // 4 + x // 9) % 3 == 0, waves, plane)
    return plane.astype(np.uint8 if bits == 8 else np.uint16)


def swscale(planes: list[np.ndarray], pix_fmt: str, size: tuple[int, int], flags: str, **options: str) -> list[np.ndarray]:
    """FFmpeg's `scale` filter."""
    height, width = planes[0].shape
    video = av.VideoFrame(width, height, pix_fmt)
    for plane, codes in zip(video.planes, planes, strict=True):
        np.frombuffer(plane, codes.dtype).reshape(len(codes), -1)[:, : codes.shape[1]] = codes
    graph = Graph()
    graph.threads = 1
    source = graph.add("buffer", video_size=f"{width}x{height}", pix_fmt=pix_fmt, time_base="1/25")
    scale = graph.add("scale", w=str(size[0]), h=str(size[1]), flags=f"{flags}+{FLAGS}", **options)
    graph.link_nodes(source, scale, graph.add("format", pix_fmts=pix_fmt), graph.add("buffersink")).configure()
    source.push(video)
    result = graph.pull()
    assert isinstance(result, av.VideoFrame)
    found = []
    for plane in result.planes:
        rows = np.frombuffer(plane, planes[0].dtype).reshape(plane.height, -1)[:, : plane.width]
        found.append(rows.copy())
    return found


def plane_shapes(pix_fmt: str, width: int, height: int) -> list[tuple[int, int]]:
    """(rows, columns) of each plane of a picture."""
    layout = find_layout(pix_fmt)
    assert layout is not None
    return [layout.plane_size(index, width, height)[::-1] for index in range(3)]


def difference(ours: np.ndarray, theirs: np.ndarray) -> int:
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


def reference(plane: np.ndarray, size: tuple[int, int], *, bits: int, kernel: Any = "lanczos", **options: Any) -> np.ndarray:
    width, height = size
    across = make_taps(plane.shape[1], width, width, ONE_ACROSS, kernel, **options)
    down = make_taps(plane.shape[0], height, height, ONE_DOWN, kernel, **options)
    return resample_reference.resample(plane, across, down, bits=bits)


@pytest.mark.parametrize("kernel", ["lanczos", "linear"])
@pytest.mark.parametrize("bits", GRAY)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_reference_agrees_with_swscale(source: tuple[int, int], target: tuple[int, int], bits: int, kernel: Any) -> None:
    plane = picture(*source, bits)
    (theirs,) = swscale([plane], GRAY[bits], target, {"linear": "bilinear"}.get(kernel, kernel))
    assert difference(reference(plane, target, bits=bits, kernel=kernel), theirs) <= SWSCALE_CODES


@pytest.mark.parametrize("location", FIRST_CHROMA_SAMPLE)
@pytest.mark.parametrize(("pix_fmt", "log2_chroma"), [("yuv420p", (1, 1)), ("yuv420p10le", (1, 1)), ("yuv422p", (1, 0))])
@pytest.mark.parametrize(("source", "target"), [((64, 48), (128, 96)), ((60, 40), (150, 100)), ((96, 80), (64, 32))])
def test_chroma_stays_at_its_site_as_in_swscale(
    pix_fmt: str, log2_chroma: tuple[int, int], location: str, source: tuple[int, int], target: tuple[int, int]
) -> None:
    bits = 10 if "10" in pix_fmt else 8
    planes = [picture(shape[1], shape[0], bits, seed) for seed, shape in enumerate(plane_shapes(pix_fmt, *source))]
    theirs = swscale(planes, pix_fmt, target, "lanczos", in_chroma_loc=location, out_chroma_loc=location)
    site = chroma_site(location, log2_chroma)
    height, width = plane_shapes(pix_fmt, *target)[1]
    for plane, wanted in zip(planes[1:], theirs[1:], strict=True):
        across = make_taps(plane.shape[1], width, width, ONE_ACROSS, site=(site[0], site[0]))
        down = make_taps(plane.shape[0], height, height, ONE_DOWN, site=(site[1], site[1]))
        assert difference(resample_reference.resample(plane, across, down, bits=bits), wanted) <= SWSCALE_CODES


def test_chroma_moves_from_one_site_to_another_as_in_swscale() -> None:
    planes = [picture(64, 48, 8), picture(32, 24, 8, 1), picture(32, 24, 8, 2)]
    theirs = swscale(planes, "yuv420p", (128, 96), "lanczos", in_chroma_loc="topleft", out_chroma_loc="left")
    before, after = chroma_site("topleft", (1, 1)), chroma_site("left", (1, 1))
    across = make_taps(32, 64, 64, ONE_ACROSS, site=(before[0], after[0]))
    down = make_taps(24, 48, 48, ONE_DOWN, site=(before[1], after[1]))
    assert difference(resample_reference.resample(planes[1], across, down, bits=8), theirs[1]) <= SWSCALE_CODES


@pytest.mark.parametrize("location", ["left", "topleft"])
@pytest.mark.parametrize("size", [(161, 121), (35, 33)])
def test_odd_sizes_are_those_of_the_carrier(size: tuple[int, int], location: str) -> None:
    """Chroma of an odd size reaches beyond the picture: `extent` does what streamsr/resample.py does on a CPU."""
    width, height = size
    planes = [picture(shape[1], shape[0], 8, seed) for seed, shape in enumerate(plane_shapes("yuv420p", width, height))]
    video = av.VideoFrame(width, height, "yuv420p")
    for plane, codes in zip(video.planes, planes, strict=True):
        np.frombuffer(plane, np.uint8).reshape(len(codes), -1)[:, : codes.shape[1]] = codes
    graph = Graph()
    source = graph.add("buffer", video_size=f"{width}x{height}", pix_fmt="yuv420p", time_base="1/25")
    graph.link_nodes(source, graph.add("setparams", chroma_location=location), graph.add("buffersink")).configure()
    source.push(video)
    sited = graph.pull()
    assert isinstance(sited, av.VideoFrame)
    carrier = Frame(Resampler(2 * width, 2 * height)(sited)).planes
    site = chroma_site(location, (1, 1))
    for plane, wanted in zip(planes[1:], carrier[1:], strict=True):
        rows, columns = plane.shape
        across = make_taps(columns, 2 * columns, width, ONE_ACROSS, site=(site[0], site[0]))
        down = make_taps(rows, 2 * rows, height, ONE_DOWN, site=(site[1], site[1]))
        assert difference(resample_reference.resample(plane, across, down, bits=8), wanted) <= SWSCALE_CODES


@given(
    source=st.tuples(st.integers(1, 80), st.integers(1, 40)),
    target=st.tuples(st.integers(1, 90), st.integers(1, 70)),
    more=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    bits=st.sampled_from(list(GRAY)),
    kernel=st.sampled_from(["lanczos", "linear"]),
    site=st.sampled_from([0.25, 0.5, 0.75]),
)
@settings(max_examples=60)
def test_kernel_is_the_reference(
    host: HostDevice,
    source: tuple[int, int],
    target: tuple[int, int],
    more: tuple[int, int],
    bits: int,
    kernel: Any,
    site: float,
) -> None:
    (width, height), (to_width, to_height) = source, target
    plane = picture(width, height, bits)
    padded = np.full((height, width + 5), 77, plane.dtype)
    padded[:, 2 : width + 2] = plane
    around = np.full((to_height + 1, to_width + 3), 99, plane.dtype)
    out, extent = around[:to_height, 1 : to_width + 1], (to_width + more[0], to_height + more[1])
    resample(padded[:, 2 : width + 2], out, bits=bits, kernel=kernel, site=(site, 0.5), extent=extent)
    across = make_taps(width, extent[0], to_width, ONE_ACROSS, kernel, (site, site))
    down = make_taps(height, extent[1], to_height, ONE_DOWN, kernel)
    np.testing.assert_array_equal(out, resample_reference.resample(plane, across, down, bits=bits))
    assert (around[to_height:] == 99).all()
    assert (around[:, 0] == 99).all()
    assert (around[:, to_width + 1 :] == 99).all()


def test_kernel_agrees_with_swscale_on_chroma(host: HostDevice) -> None:
    planes = [picture(96, 64, 8), picture(48, 32, 8, 1), picture(48, 32, 8, 2)]
    theirs = swscale(planes, "yuv420p", (144, 96), "lanczos", in_chroma_loc="left", out_chroma_loc="left")
    for plane, wanted in zip(planes[1:], theirs[1:], strict=True):
        out = np.zeros((48, 72), np.uint8)
        resample(plane, out, bits=8, site=chroma_site("left", (1, 1)))
        assert difference(out, wanted) <= SWSCALE_CODES


def test_the_same_size_is_a_copy(host: HostDevice) -> None:
    plane = picture(37, 21, 10)
    out = np.zeros((21, 37), np.uint16)
    resample(plane, out, bits=10)
    np.testing.assert_array_equal(out, plane)


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_flat_codes_stay(host: HostDevice, bits: int) -> None:
    dtype = np.uint8 if bits == 8 else np.uint16
    for code in (0, 3, (1 << bits) - 1):
        out = np.zeros((41, 77), dtype)
        resample(np.full((17, 29), code, dtype), out, bits=bits)
        assert (out == code).all()


def test_many_rows_to_few_fit_shared_memory(host: HostDevice) -> None:
    plane = picture(40, 1200, 8)
    out = np.zeros((20, 40), np.uint8)
    resample(plane, out, bits=8)
    np.testing.assert_array_equal(out, reference(plane, (40, 20), bits=8))
    with pytest.raises(ValueError, match="too much at once"):
        resample(plane, np.zeros((2, 40), np.uint8), bits=8)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"bits": 11}, ValueError, "11"),
        ({"bits": 10}, TypeError, "uint8"),
        ({"kernel": "nearest"}, ValueError, "nearest"),
        ({"extent": (7, 8)}, ValueError, "7x8"),
        ({"out": np.zeros((8, 8, 2), np.uint8)}, ValueError, r"\(8, 8, 2\)"),
        ({"out": np.zeros((8, 16), np.uint8)[:, ::2]}, ValueError, "side by side"),
        ({"out": np.zeros((0, 8), np.uint8)}, ValueError, "empty"),
        ({"samples": np.zeros((6, 5), np.uint8)[::-1]}, ValueError, "positive"),
    ],
)
def test_wrong_calls_are_refused(host: HostDevice, change: dict[str, Any], error: type[Exception], words: str) -> None:
    call: dict[str, Any] = {"samples": np.zeros((6, 5), np.uint8), "out": np.zeros((8, 8), np.uint8), "bits": 8} | change
    with pytest.raises(error, match=words):
        resample(call.pop("samples"), call.pop("out"), **call)
    assert not host.launched


@pytest.mark.parametrize(
    ("location", "log2", "site"),
    [
        ("left", (1, 1), (0.25, 0.5)),
        ("topleft", (1, 1), (0.25, 0.25)),
        ("center", (1, 1), (0.5, 0.5)),
        ("bottom", (1, 1), (0.5, 0.75)),
        ("unspecified", (1, 0), (0.25, 0.5)),
    ],
)
def test_site_of_a_chroma_location(location: str, log2: tuple[int, int], site: tuple[float, float]) -> None:
    assert chroma_site(location, log2) == site


def test_unknown_location_is_refused() -> None:
    with pytest.raises(ValueError, match="middle"):
        chroma_site("middle", (1, 1))


@pytest.mark.gpu
@pytest.mark.parametrize("bits", GRAY)
@pytest.mark.parametrize(("source", "target"), [((960, 540), (1920, 1080)), ((161, 121), (483, 362)), ((1920, 1080), (853, 480))])
def test_gpu_is_the_reference(cupy: Any, source: tuple[int, int], target: tuple[int, int], bits: int) -> None:
    plane = picture(*source, bits)
    samples, out = cupy.asarray(plane), cupy.empty((target[1], target[0]), plane.dtype)
    cupy.cuda.get_current_stream().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    assert resample(samples, out, bits=bits, stream=stream) is out
    stream.synchronize()
    np.testing.assert_array_equal(cupy.asnumpy(out), reference(plane, target, bits=bits))
