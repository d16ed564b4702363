"""Scores agree with scikit-image and libvmaf, and means leave out what was not measured."""

import numpy as np
import pytest
from skimage import metrics

from streamsr.compare.pban import PbanScorer
from streamsr.compare.vmaf import Vmaf, find_ffmpeg
from trainer.evaluation.scores import Scores, grey_picture, mean_of, measure, ms_ssim_of, vmaf_of

needs_vmaf = pytest.mark.skipif(find_ffmpeg() is None, reason="no ffmpeg with libvmaf")


def pair(height: int, width: int, seed: int, sigma: float = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    original = 125 + 60 * np.sin(x / 4 + seed) * np.cos(y / 5) + rng.normal(0, 6, (height, width))
    noisy = original + rng.normal(0, sigma, original.shape)
    return tuple(np.clip(np.rint(plane), 16, 235).astype(np.uint8) for plane in (noisy, original))  # type: ignore[return-value]


def test_psnr_and_ssim_are_those_of_scikit_image_without_the_border() -> None:
    result, original = pair(40, 50, 0)
    scores = measure([result], [original], border=2, still=True, judge=None)
    inside = [plane[2:-2, 2:-2].astype(np.float64) for plane in (result, original)]
    assert scores.psnr == pytest.approx(metrics.peak_signal_noise_ratio(inside[1], inside[0], data_range=255), abs=1e-6)
    theirs = metrics.structural_similarity(*inside, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert scores.ssim == pytest.approx(theirs, abs=1e-4)
    assert (scores.vmaf, scores.efficient_pban) == (None, None)


@needs_vmaf
def test_a_still_picture_does_not_move_whatever_comes_after_it() -> None:
    pairs = [pair(96, 128, seed, sigma=12) for seed in range(3)]
    together = vmaf_of(*([p[i] for p in pairs] for i in range(2)), still=True)
    assert together is not None
    for (result, original), found in zip(pairs, together, strict=True):
        with Vmaf(128, 96) as vmaf:
            for _ in range(3):  # one picture, standing still
                vmaf.add(result, original)
            assert found["vmaf_neg"] == pytest.approx(vmaf.finish()[1]["vmaf_neg"], abs=1e-6)


@needs_vmaf
def test_pictures_of_several_sizes_keep_their_order() -> None:
    pairs = [pair(96, 128, 0), pair(128, 96, 1, sigma=30), pair(96, 128, 2)]
    found = vmaf_of(*([p[i] for p in pairs] for i in range(2)), still=True)
    assert found is not None
    assert found[1]["vmaf"] == min(one["vmaf"] for one in found)
    alone = vmaf_of([pairs[2][0]], [pairs[2][1]], still=True)
    assert alone is not None
    assert found[2]["vmaf"] == pytest.approx(alone[0]["vmaf"], abs=1e-6)


@needs_vmaf
def test_the_metric_sees_grey_pictures() -> None:
    result, original = pair(100, 120, 0)
    judge = PbanScorer(threads=1)
    scores = measure([result, original], [original, original], border=2, still=True, judge=judge, judge_every=2)
    assert scores.efficient_pban == pytest.approx(judge(grey_picture(result), grey_picture(original)), abs=1e-6)
    assert scores.vmaf is not None
    assert scores.vmaf_neg is not None
    assert grey_picture(np.array([[16, 235, 0, 255]], np.uint8))[0, :, 1].tolist() == [0, 255, 0, 255]
    small = measure([result[:64]], [original[:64]], border=2, still=True, judge=judge)
    assert small.efficient_pban is None


def test_ms_ssim_uses_the_scales_that_fit() -> None:
    for side in (11, 22, 96, 200):
        result, original = pair(side, side + 9, 1)
        assert ms_ssim_of(original, original) == pytest.approx(1, abs=1e-6)
        assert 0.3 < ms_ssim_of(result, original) < 1


def test_means_leave_out_what_was_not_measured() -> None:
    mean = mean_of([Scores(30, 0.9, None, None, 0.5), Scores(32, 0.7, 80, None, None)])
    assert (mean.psnr, mean.ssim, mean.vmaf, mean.vmaf_neg, mean.efficient_pban) == (31, pytest.approx(0.8), 80, None, 0.5)
