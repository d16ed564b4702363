"""Clean degradations keep studio range and stay centre-aligned."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from trainer.data.degrade import KERNEL_WEIGHTS, PICTURE_KERNEL_WEIGHTS, downscale_luma, downscale_rgb, jpeg_luma
from trainer.data.photos import luma_codes
from trainer.data.stills import NUM_JPEG, NUM_SHARP, NUM_SOFT, PIECE, clean_pairs, picture_pairs

# in target pixels: a twentieth is below what 8-bit rounding of the samples lets a measurement see on real pictures
SITING_TOLERANCE_PX = 0.05


def phase_px(samples: np.ndarray, positions: np.ndarray, period: float) -> float:
    """Where a sine of this period is least-squares shifted to, in units of `positions`; a constant offset does not matter."""
    angle = 2 * np.pi * positions / period
    design = np.stack([np.sin(angle), np.cos(angle), np.ones_like(angle)], 1)
    (a, b, _), *_ = np.linalg.lstsq(design, samples, rcond=None)
    return float(np.arctan2(b, a) * period / (2 * np.pi))


@pytest.mark.parametrize("kernel", KERNEL_WEIGHTS)
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("axis", [0, 1])
def test_low_resolution_samples_lie_in_the_middle_of_their_blocks(kernel: str, scale: int, axis: int) -> None:
    # a slow wave rather than a straight ramp: its phase does not see the bias of rounding to 8 bits
    period = 37.3
    wave = np.rint(126 + 90 * np.sin(2 * np.pi * np.arange(192) / period)).astype(np.uint8)
    plane = np.tile(wave, (192, 1))
    plane = plane if axis == 1 else plane.T.copy()
    small = downscale_luma(plane, scale=scale, kernel=kernel).astype(np.float64)
    small = small if axis == 1 else small.T
    centres = (np.arange(small.shape[1]) + 0.5) * scale - 0.5
    inside = slice(4, -4)
    assert abs(phase_px(small.mean(0)[inside], centres[inside], period)) < SITING_TOLERANCE_PX


@pytest.mark.parametrize("kernel", KERNEL_WEIGHTS)
def test_black_and_white_become_16_and_235(kernel: str) -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:, 32:] = 255
    small = downscale_rgb(rgb, scale=2, kernel=kernel)
    assert small.dtype == np.uint8
    assert small.shape == (24, 32)
    assert (small[:, :8] == 16).all()
    assert (small[:, -8:] == 235).all()


def test_luma_is_that_of_ffmpeg() -> None:
    av = pytest.importorskip("av")
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv444p", dst_colorspace="ITU601", dst_color_range="MPEG")
    theirs = frame.to_ndarray()[0].astype(int)
    assert np.abs(luma_codes(rgb).astype(int) - theirs).max() <= 1  # swscale rounds its coefficients to 15 bits


def test_a_photograph_gives_one_sharp_piece_and_soft_ones(tmp_path: pathlib.Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "noise.png")
    pieces = clean_pairs(tmp_path / "noise.png", 7, 2)
    assert len(pieces) == 1 + NUM_SOFT
    (sharp, _), *soft = pieces

    def roughness(plane: np.ndarray) -> float:
        return float(np.abs(np.diff(plane.astype(float), axis=1)).mean() / plane.std())

    for hr, versions in soft:
        assert roughness(hr) < 0.8 * roughness(sharp)
        assert hr.shape[0] == hr.shape[1] <= PIECE
        assert all((2 * lr.shape[0], 2 * lr.shape[1]) == hr.shape for lr in versions)
    assert len(sharp) == 200  # as it came, square
    assert len({id(version) for version in pieces[0][1]}) == len(KERNEL_WEIGHTS)  # weights of the kernels cost no memory


def test_sharp_pieces_are_not_enlarged_and_mostly_shrunk_by_pillow(tmp_path: pathlib.Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "noise.png")
    luma = luma_codes(rgb)
    *pieces, (softer, _) = picture_pairs(tmp_path / "noise.png", 7, 2)
    assert len(pieces) == NUM_SHARP
    for hr, versions in pieces:
        columns = [x for x in range(101) if np.array_equal(luma[:, x : x + 200], hr)]
        assert len(columns) == 1  # a piece of the photograph, sample for sample
        picture = rgb[:, columns[0] : columns[0] + 200]
        by_pillow = [np.array_equal(lr, downscale_rgb(picture, scale=2, kernel="bicubic")) for lr in versions]
        assert (sum(by_pillow), len(by_pillow)) == (PICTURE_KERNEL_WEIGHTS["bicubic"], sum(PICTURE_KERNEL_WEIGHTS.values()) + NUM_JPEG)
    assert not any(np.array_equal(luma[:, x : x + softer.shape[1]], softer) for x in range(101))


def test_a_better_jpeg_is_nearer_to_the_picture() -> None:
    y, x = np.mgrid[:96, :96]
    rgb = np.stack([128 + 90 * np.sin(x / 3) * np.cos(y / 5), 128 + 60 * np.cos(x / 7), 128 + 60 * np.sin(y / 4)], 2).astype(np.uint8)
    plain = downscale_rgb(rgb, scale=2, kernel="bicubic").astype(int)
    errors = [np.abs(jpeg_luma(rgb, scale=2, quality=quality) - plain).mean() for quality in (30, 75, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 1.5
