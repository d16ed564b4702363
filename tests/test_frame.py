"""A change of pixel format keeps every sample that both formats have."""

from __future__ import annotations

import av
import numpy as np
import pytest

from streamsr.frame import Frame, reformat


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize("size", [(854, 480), (130, 98)])
def test_ten_bit_luma_is_kept_where_rows_have_no_room_behind_them(pix_fmt: str, size: tuple[int, int]) -> None:
    video = av.VideoFrame(*size, pix_fmt)
    rng = np.random.default_rng(1)
    for plane in Frame(video).planes:
        plane[:] = rng.integers(0, 1024, plane.shape)
    for _ in range(20):
        np.testing.assert_array_equal(Frame(reformat(video, "yuv420p10le")).luma, Frame(video).luma)


def test_surfaces_of_ten_bits_keep_their_codes() -> None:
    video = av.VideoFrame(854, 480, "p010le")
    samples = np.frombuffer(video.planes[0], np.uint16).reshape(480, -1)
    samples[:] = np.random.default_rng(1).integers(0, 1024, samples.shape) << 6
    for _ in range(20):
        np.testing.assert_array_equal(Frame(reformat(video, "yuv420p10le")).luma, samples[:, :854] >> 6)
