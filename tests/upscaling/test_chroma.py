"""The carrier that leaves luma to the network: everything else as the whole resampling has it, to the bit."""

from __future__ import annotations

import gc
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_resample import smooth_frame, tagged

from streamsr.frame import Frame
from streamsr.resample import Resampler
from streamsr.siting import CHROMA_LOCATIONS, find_chroma_location
from streamsr.upscaling import chroma as carrier_module
from streamsr.upscaling.chroma import Carrier

TAGS = ("width", "height", "pts", "duration", "time_base", "color_range", "colorspace", "color_primaries", "color_trc", "pict_type")
FORMATS = ["yuv420p", "yuv420p10le", "yuv422p", "yuv422p12le", "yuv444p", "yuv440p", "yuv411p", "yuv410p"]


def noisy_frame(pix_fmt: str, width: int, height: int) -> av.VideoFrame:
    """Every code value anywhere: the hardest picture to agree on."""
    video = smooth_frame(pix_fmt, width, height)
    rng = np.random.default_rng(1)
    frame = Frame(video)
    for plane in frame.planes:
        plane[:] = rng.integers(0, frame.layout.max_code + 1, plane.shape)
    video.pts, video.duration, video.time_base = 1001, 40, Fraction(1, 30_000)
    return video


def assert_same_but_luma(carrier: Carrier, video: av.VideoFrame) -> None:
    """Planes but the first, and all that PyAV shows of a frame."""
    ours, whole = carrier(video), Resampler(carrier.width, carrier.height)(video)
    for mine, other in zip(Frame(ours).planes[1:], Frame(whole).planes[1:], strict=True):
        np.testing.assert_array_equal(mine, other)
    for name in TAGS:
        assert getattr(ours, name) == getattr(whole, name), name
    assert ours.format.name == whole.format.name
    assert find_chroma_location(ours) == find_chroma_location(whole)


@pytest.fixture
def padded(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each frame's carrier was made by padding."""
    seen: list[bool] = []
    pads = Carrier._pads

    def look(self: Carrier, *given: object) -> bool:
        seen.append(pads(self, *given))  # type: ignore[arg-type]
        return seen[-1]

    monkeypatch.setattr(carrier_module.Carrier, "_pads", look)
    return seen


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("factor", [2, 3, 1.5])
def test_chroma_is_that_of_the_whole_resampling(pix_fmt: str, factor: float, padded: list[bool]) -> None:
    assert_same_but_luma(Carrier(int(96 * factor), int(80 * factor)), noisy_frame(pix_fmt, 96, 80))
    assert padded == [True]


@pytest.mark.parametrize("location", CHROMA_LOCATIONS)
def test_chroma_stays_at_its_site(location: str, padded: list[bool]) -> None:
    assert_same_but_luma(Carrier(192, 160), tagged(noisy_frame("yuv420p", 96, 80), location))
    assert padded == [True]


@given(st.integers(2, 70), st.integers(2, 70), st.integers(2, 150), st.integers(2, 150), st.sampled_from(FORMATS))
@settings(deadline=None, max_examples=60)
def test_any_size(width: int, height: int, target_width: int, target_height: int, pix_fmt: str) -> None:
    assert_same_but_luma(Carrier(target_width, target_height), noisy_frame(pix_fmt, width, height))


def test_gray_has_nothing_but_luma(padded: list[bool]) -> None:
    result = Carrier(64, 64)(noisy_frame("gray", 32, 32))
    assert (result.width, result.height, result.format.name, padded) == (64, 64, "gray", [True])


@pytest.mark.parametrize(("pix_fmt", "size"), [("gbrp", (64, 64)), ("yuva420p", (64, 64)), ("yuv420p", (16, 64))])
def test_what_padding_cannot_do_is_resampled_whole(pix_fmt: str, size: tuple[int, int], padded: list[bool]) -> None:
    video = noisy_frame(pix_fmt, 32, 32)
    for mine, other in zip(Frame(Carrier(*size)(video)).planes, Frame(Resampler(*size)(video)).planes, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert padded == [False]


def test_the_result_is_writable_and_its_own() -> None:
    video = noisy_frame("yuv420p", 32, 32)
    before = [plane.copy() for plane in Frame(video).planes]
    carrier = Carrier(64, 64)
    first, second = carrier(video), carrier(video)
    for plane in Frame(first).planes:
        plane[:] = 7
    for plane, was in zip(Frame(video).planes, before, strict=True):
        np.testing.assert_array_equal(plane, was)
    assert all((plane != 7).any() for plane in Frame(second).planes[1:])


def test_frames_may_change_in_the_middle() -> None:
    carrier = Carrier(128, 96)
    for pix_fmt, size in (("yuv420p", (64, 48)), ("yuv422p", (64, 48)), ("yuv420p", (32, 40)), ("yuv420p", (64, 48))):
        assert_same_but_luma(carrier, noisy_frame(pix_fmt, *size))


def test_frames_are_freed_at_once() -> None:
    """Without waiting for Python's collector of cycles, which leaves a hundred of them in memory."""
    carrier = Carrier(64, 64)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)  # into gc.garbage goes all that had to wait, other tests' leavings with it
    try:
        for _ in range(5):
            carrier(noisy_frame("yuv420p", 32, 32))
        gc.collect()
        assert [thing for thing in gc.garbage if isinstance(thing, av.VideoFrame)] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
