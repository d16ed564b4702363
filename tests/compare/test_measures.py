"""PSNR and SSIM against scikit-image, MS-SSIM and VMAF against libvmaf."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from streamsr.compare.measures import PSNR_LIMIT, ms_ssim, psnr, ssim
from streamsr.compare.vmaf import Vmaf, find_ffmpeg


def planes(height: int = 190, width: int = 203, sigma: float = 9.0) -> tuple[np.ndarray, np.ndarray]:
    """A textured plane and its noisy version, float32 codes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    original = np.rint(np.clip(120 + 70 * np.sin(x / 7) * np.cos(y / 11) + rng.normal(0, 10, (height, width)), 0, 255)).astype(np.float32)
    result = np.rint(np.clip(original * 0.9 + 9 + rng.normal(0, sigma, original.shape), 0, 255)).astype(np.float32)
    return result, original


@pytest.mark.parametrize("shape", [(48, 64), (101, 37)], ids=str)
def test_psnr_and_ssim_agree_with_scikit_image(shape: tuple[int, int]) -> None:
    result, original = planes(*shape)
    assert psnr(result, original) == pytest.approx(peak_signal_noise_ratio(original, result, data_range=255), abs=1e-4)
    expected = structural_similarity(original.astype(float), result.astype(float), gaussian_weights=True, sigma=1.5,
                                     use_sample_covariance=False, data_range=255)  # fmt: skip
    assert ssim(result, original) == pytest.approx(expected, abs=1e-5)


def test_equal_planes_are_perfect() -> None:
    _, original = planes()
    assert psnr(original, original) == PSNR_LIMIT
    assert ssim(original, original) == pytest.approx(1, abs=1e-6)
    assert ms_ssim(original, original) == pytest.approx(1, abs=1e-6)


def test_one_scale_of_ms_ssim_is_ssim() -> None:
    result, original = planes()
    assert ms_ssim(result, original, scales=1) == pytest.approx(ssim(result, original), abs=1e-9)


def test_ms_ssim_weighs_coarse_scales() -> None:
    # noise goes away at coarse scales, a shift of the mean does not
    noisy, original = planes(sigma=25.0)
    assert ssim(noisy, original) < ms_ssim(noisy, original, scales=3) < ms_ssim(noisy, original)


@pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")
def test_vmaf_scores_frames_in_their_order() -> None:
    pairs = [planes(sigma=sigma) for sigma in (0.0, 9.0, 30.0)]
    with Vmaf(203, 190) as vmaf:
        for result, original in pairs:
            vmaf.add(result.astype(np.uint8), original.astype(np.uint8))
        found = vmaf.finish()
    scores = [frame["vmaf"] for frame in found]
    assert len(scores) == 3
    assert scores[0] > scores[1] > scores[2]
    assert all(frame["vmaf_neg"] <= frame["vmaf"] + 0.5 for frame in found)


@pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")
def test_vmaf_refuses_planes_of_another_size() -> None:
    with Vmaf(64, 48) as vmaf, pytest.raises(ValueError, match=r"\(48, 64\).*\(32, 64\)"):
        vmaf.add(np.zeros((32, 64), np.uint8), np.zeros((48, 64), np.uint8))
