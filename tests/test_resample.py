"""The carrier: chroma where it belongs, tags and timestamps untouched, any format planar."""

from __future__ import annotations

import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest
from av.filter import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

from streamsr.frame import Frame, find_layout
from streamsr.resample import Resampler, convert, even_extension, exact_side, planar_format, resize_plane, resized_plane, to_planar
from streamsr.siting import find_chroma_location

# swscale leaves out the outer taps of a filter while they sum to 0.002 (SWS_MAX_REDUCE_CUTOFF), and rounds: so in
# 8 bits one code, above that 0.0025 of the range. A wrong siting is off by 3 codes of 8 bits and more, see below.
SWSCALE_SHARE = 0.0025
# zimg computes the kernel with other rounding and, for 8 bits, in 16-bit integers: one code more
ZIMG_CODES = 2.0
# horizontal and vertical offset of the first chroma sample from the first luma sample, in luma pixels, for 4:2:0
SITES = {"left": (0.0, 0.5), "center": (0.5, 0.5), "topleft": (0.0, 0.0)}


def tagged(video: av.VideoFrame, location: str) -> av.VideoFrame:
    """The frame with a chroma location, which PyAV has no attribute for."""
    graph = Graph()
    source = graph.add(
        "buffer",
        video_size=f"{video.width}x{video.height}",
        pix_fmt=video.format.name,
        time_base="1/1000",
        colorspace=str(int(video.colorspace)),
        range=str(int(video.color_range)),
    )
    graph.link_nodes(source, graph.add("setparams", chroma_location=location), graph.add("buffersink")).configure()
    source.push(video)
    return graph.pull()


def smooth_frame(pix_fmt: str, width: int, height: int, *, seed: int = 0) -> av.VideoFrame:
    """Waves a few pixels long in all planes, within the studio range."""
    video = av.VideoFrame(width, height, pix_fmt)
    video.color_range, video.colorspace = 1, 1
    frame = Frame(video)
    rng = np.random.default_rng(seed)
    for plane in frame.planes:
        y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
        waves = sum(np.sin(x * rng.uniform(-0.6, 0.6) + y * rng.uniform(-0.6, 0.6) + rng.uniform(0, 6)) for _ in range(3))
        plane[:] = np.rint((128 + 30 * waves) * (1 << (frame.layout.bits - 8)))
    return video


def lanczos_axis(samples: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Lanczos-3 interpolation in float64 at fractional `positions` of one axis; the edge sample repeats."""
    first = np.floor(positions).astype(int) - 2
    taps = first[:, None] + np.arange(6)
    distance = positions[:, None] - taps
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    weights /= weights.sum(axis=1, keepdims=True)
    moved = np.moveaxis(samples.astype(np.float64), axis, 0)
    picked = moved[np.clip(taps, 0, len(moved) - 1)]
    return np.moveaxis(np.einsum("nt,nt...->n...", weights, picked), 0, axis)


def reference_plane(
    plane: np.ndarray, size: tuple[int, int], *, scale: float, site: tuple[float, float], step: tuple[int, int]
) -> np.ndarray:
    """Upscale a plane whose samples lie every `step` luma pixels from `site` on, keeping site and step. size: (w, h) of the result."""
    for axis, (length, offset, every) in zip((1, 0), zip(size, site, step, strict=True), strict=True):
        luma_out = np.arange(length) * every + offset
        luma_in = (luma_out + 0.5) / scale - 0.5
        plane = lanczos_axis(plane, (luma_in - offset) / every, axis)
    return plane


def swscale_codes(bits: int) -> float:
    """How far swscale may be from the exact result, in codes."""
    return 1.0 if bits == 8 else 0.5 + SWSCALE_SHARE * (1 << bits)


def inner(difference: np.ndarray, margin: int = 8) -> float:
    """The largest difference away from the edges, which scalers treat in different ways."""
    return float(np.abs(difference)[margin:-margin, margin:-margin].max())


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
@pytest.mark.parametrize("location", SITES)
def test_chroma_stays_at_its_site(pix_fmt: str, location: str) -> None:
    video = tagged(smooth_frame(pix_fmt, 96, 80), location)
    planes = Frame(video).planes
    carrier = Frame(Resampler(192, 160)(video))
    for index in (1, 2):
        expected = reference_plane(planes[index], (96, 80), scale=2, site=SITES[location], step=(2, 2))
        assert np.abs(carrier.planes[index] - expected).max() <= swscale_codes(carrier.layout.bits)
    expected = reference_plane(planes[0], (192, 160), scale=2, site=(0, 0), step=(1, 1))
    assert np.abs(carrier.luma - expected).max() <= swscale_codes(carrier.layout.bits)


def test_422_chroma_stays_left() -> None:
    video = tagged(smooth_frame("yuv422p", 96, 80), "left")
    carrier = Frame(Resampler(192, 160)(video))
    expected = reference_plane(Frame(video).planes[1], (96, 160), scale=2, site=(0, 0), step=(2, 1))
    assert np.abs(carrier.planes[1] - expected).max() <= swscale_codes(8)


def test_untagged_chroma_counts_as_left_and_stays_untagged() -> None:
    video = smooth_frame("yuv420p", 96, 80)
    assert find_chroma_location(video) == "unspecified"
    carrier = Resampler(192, 160)(video)
    assert find_chroma_location(carrier) == "unspecified"
    expected = reference_plane(Frame(video).planes[1], (96, 80), scale=2, site=SITES["left"], step=(2, 2))
    assert np.abs(Frame(carrier).planes[1] - expected).max() <= swscale_codes(8)


@pytest.mark.parametrize("location", [*SITES, "top", "bottomleft", "bottom"])
def test_chroma_location_is_read_and_kept(location: str) -> None:
    video = tagged(smooth_frame("yuv420p", 32, 32), location)
    assert find_chroma_location(video) == location
    assert find_chroma_location(Resampler(64, 64)(video)) == location


@pytest.mark.parametrize("size", [(161, 121), (35, 33)])
def test_odd_size_does_not_stretch_chroma(size: tuple[int, int]) -> None:
    width, height = size
    video = tagged(smooth_frame("yuv420p", width, height), "left")
    carrier = Frame(Resampler(2 * width, 2 * height)(video))
    expected = reference_plane(Frame(video).planes[1], (width, height), scale=2, site=SITES["left"], step=(2, 2))
    assert inner(carrier.planes[1] - expected, 4) <= swscale_codes(8)
    expected = reference_plane(Frame(video).luma, (2 * width, 2 * height), scale=2, site=(0, 0), step=(1, 1))
    assert np.abs(carrier.luma - expected).max() <= swscale_codes(8)


@pytest.mark.parametrize("location", SITES)
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_chroma_agrees_with_zimg(location: str, pix_fmt: str) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    video = smooth_frame(pix_fmt, 96, 80)
    planes = Frame(video).planes
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "rawvideo", "-pix_fmt", pix_fmt, "-s", "96x80", "-i", "-", "-vf",
        f"zscale=192:160:filter=lanczos:chromalin={location}:chromal={location}", "-pix_fmt", pix_fmt, "-f", "rawvideo", "-",
    ]  # fmt: skip
    raw = subprocess.run(command, input=b"".join(plane.tobytes() for plane in planes), capture_output=True, check=True).stdout
    samples = np.frombuffer(raw, planes[0].dtype)
    carrier = Frame(Resampler(192, 160)(tagged(video, location)))
    chroma = samples[192 * 160 :][: 96 * 80].reshape(80, 96)
    assert inner(carrier.planes[1] - chroma.astype(float)) <= ZIMG_CODES


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv420p10le", "gbrp", "yuva420p", "gray", "gray10le"])
@pytest.mark.parametrize("color_range", [1, 2])
def test_flat_colours_keep_their_codes(pix_fmt: str, color_range: int) -> None:
    video = av.VideoFrame(34, 18, pix_fmt)
    video.color_range, video.colorspace = color_range, 9
    video.color_primaries, video.color_trc = 9, 16
    codes = [3, 250, 77, 255] if find_layout(pix_fmt).bits == 8 else [3, 1001, 500, 1023]
    for plane, code in zip(Frame(video).planes, codes, strict=False):
        plane[:] = code
    carrier = Resampler(68, 36)(video)
    for plane, code in zip(Frame(carrier).planes, codes, strict=False):
        assert (plane == code).all()
    assert carrier.format.name == pix_fmt
    assert (carrier.colorspace, carrier.color_range) == (9, color_range)
    assert (carrier.color_primaries, carrier.color_trc) == (9, 16)


def test_timestamps_and_metadata_pass_through() -> None:
    video = smooth_frame("yuv420p", 32, 32)
    video.pts, video.duration, video.time_base = 2**40 + 1, 1001, Fraction(1, 30000)
    carrier = Resampler(64, 64)(video)
    assert (carrier.pts, carrier.duration, carrier.time_base) == (2**40 + 1, 1001, Fraction(1, 30000))


def test_result_shares_no_memory_even_at_the_same_size() -> None:
    video = smooth_frame("yuv420p", 32, 32)
    before = Frame(video).luma.copy()
    same = Frame(Resampler(32, 32)(video))
    np.testing.assert_array_equal(same.luma, before)
    same.luma[:] = 0
    np.testing.assert_array_equal(Frame(video).luma, before)


def test_size_change_mid_stream_keeps_the_target() -> None:
    resampler = Resampler(100, 60)
    for width, height in [(32, 32), (50, 30), (32, 32), (200, 10)]:
        carrier = resampler(smooth_frame("yuv420p", width, height))
        assert (carrier.width, carrier.height) == (100, 60)


def readable_formats() -> list[str]:
    """FFmpeg's pixel formats that swscale reads into memory, by asking swscale itself through PyAV."""
    names = []
    for name in sorted(av.video.format.names):
        video_format = av.VideoFormat(name)
        if not video_format.components and not video_format.has_palette:
            continue
        try:
            planar_format(name)
            to_planar(av.VideoFrame(16, 16, name))
        except ValueError:
            continue
        names.append(name)
    return names


def test_every_format_becomes_planar_without_losing_bits() -> None:
    names = readable_formats()
    assert len(names) > 200
    for name in names:
        layout = find_layout(planar_format(name))
        video_format = av.VideoFormat(name)
        bits = max((component.bits for component in video_format.components), default=8)
        assert layout is not None
        assert layout.bits >= min(bits, 16), name
        assert layout.alpha >= any(component.is_alpha for component in video_format.components), name
        if layout.kind == "yuv":
            assert av.VideoFormat(layout.name).chroma_width(64) == video_format.chroma_width(64), name
            assert av.VideoFormat(layout.name).chroma_height(64) == video_format.chroma_height(64), name


@pytest.mark.parametrize(
    "name", ["rgb24", "bgr24", "rgba", "rgb48le", "nv12", "p010le", "yuyv422", "gray16be", "yuv420p10be", "nv24", "bgra64be"]
)
def test_planar_conversion_is_lossless(name: str) -> None:
    planar = planar_format(name)
    video = av.VideoFrame(32, 16, planar)
    frame = Frame(video)
    rng = np.random.default_rng(1)
    for plane in frame.planes:
        plane[:] = rng.integers(0, frame.layout.max_code + 1, plane.shape)
    packed = convert(video, name)
    assert packed.format.name == name
    for before, after in zip(frame.planes, Frame(to_planar(packed)).planes, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("location", ["topleft", "center"])
def test_planar_conversion_keeps_the_chroma_location(location: str) -> None:
    video = tagged(convert(smooth_frame("yuv420p", 32, 32), "nv12"), location)
    planar = to_planar(video)
    assert planar.format.name == "yuv420p"
    assert find_chroma_location(planar) == location
    assert find_chroma_location(Resampler(64, 64)(planar)) == location


def test_palette_becomes_rgb_with_alpha() -> None:
    video = av.VideoFrame(4, 4, "pal8")
    palette = np.frombuffer(video.planes[1], np.uint32)
    palette[:] = 0x80FF4020  # A, R, G, B
    np.frombuffer(video.planes[0], np.uint8)[:] = 7
    green, blue, red, alpha = (int(plane[0, 0]) for plane in Frame(to_planar(video)).planes)
    assert (red, green, blue, alpha) == (0xFF, 0x40, 0x20, 0x80)


@pytest.mark.parametrize("name", ["yaf16le", "vaapi"])
def test_formats_that_cannot_be_read_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        planar_format(name)


def test_flipped_picture_is_read_upright() -> None:
    video = smooth_frame("yuv420p", 32, 32)
    graph = Graph()
    source = graph.add("buffer", video_size="32x32", pix_fmt="yuv420p", time_base="1/1000", colorspace="1", range="1")
    graph.link_nodes(source, graph.add("vflip"), graph.add("buffersink")).configure()
    source.push(video)
    flipped = graph.pull()
    assert flipped.planes[0].line_size < 0
    np.testing.assert_array_equal(Frame(flipped).luma, Frame(video).luma[::-1])


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_a_plane_is_resized_without_copies_as_it_is_with_them(bits: int) -> None:
    memory = np.random.default_rng(bits).integers(0, 1 << bits, (62, 103)).astype(np.uint8 if bits == 8 else np.uint16)
    plane, expected = memory[:-1, :101], np.empty((45, 77), memory.dtype)
    resize_plane(plane, 77, 45, bits=bits, out=expected)
    resampler = Resampler(77, 45)
    for _ in range(2):
        assert np.array_equal(resized_plane(plane, resampler, bits=bits), expected)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
def test_resize_plane_is_lanczos_at_any_depth(bits: int) -> None:
    plane = Frame(smooth_frame("gray" if bits == 8 else f"gray{bits}le", 60, 40)).luma
    out = np.empty((100, 150), plane.dtype)
    resize_plane(plane, 150, 100, bits=bits, out=out)
    expected = reference_plane(plane, (150, 100), scale=2.5, site=(0, 0), step=(1, 1))
    assert np.abs(out - expected).max() <= swscale_codes(bits)


@given(source=st.integers(1, 5000), target=st.integers(1, 20000), log2=st.integers(0, 2))
@settings(max_examples=300, deadline=None)
def test_even_extension_covers_the_target(source: int, target: int, log2: int) -> None:
    added, ratio = even_extension(source, target, log2)
    if added:
        assert (source + added) % (1 << log2) == 0
        assert 0 <= target - source * ratio <= 1
        assert (source + added) * ratio >= target
    assert target - exact_side(source, target, log2) in (0, 1)
