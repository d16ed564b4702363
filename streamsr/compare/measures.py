"""PSNR and SSIM of luma planes, in plain NumPy. Planes are float (H, W) in 8-bit codes, 0 .. 255 or a part of it."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

PEAK = 255.0
PSNR_LIMIT = 100.0  # dB, given for planes that are equal or almost so
_C1, _C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
_RADIUS, _SIGMA = 5, 1.5


def psnr(result: Plane, original: Plane) -> float:
    """Peak signal-to-noise ratio in dB, at most PSNR_LIMIT; higher is better."""
    error = float(np.mean(np.square(result.astype(np.float64) - original)))
    return min(PSNR_LIMIT, 10 * float(np.log10(PEAK**2 / max(error, 1e-20))))


def ssim(result: Plane, original: Plane) -> float:
    """Mean structural similarity, at most 1; higher is better. Sides of 11 or more.

    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861: Gaussian window of 11 taps with sigma 1.5, K 0.01 and 0.03. Agrees with
    scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False), whose mean also leaves out 5 rows
    and columns at each edge.
    """
    luminance, structure = _similarities(result, original)
    return float(np.mean(luminance * structure, dtype=np.float64))


def ms_ssim(result: Plane, original: Plane, *, scales: int = 5) -> float:
    """Multi-scale SSIM; with fewer than five scales, the product of the first weights made to sum to 1. Sides of 11 * 2^(scales - 1).

    Source: Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216.
    """
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    weights /= weights.sum()
    product = 1.0
    for scale, weight in enumerate(weights):
        luminance, structure = _similarities(result, original)
        last = scale == scales - 1
        mean = float(np.mean(luminance * structure if last else structure, dtype=np.float64))
        product *= max(mean, 0.0) ** weight
        if not last:
            result, original = _halve(result), _halve(original)
    return product


def _similarities(a: Plane, b: Plane) -> tuple[Plane, Plane]:
    a, b = a.astype(np.float32), b.astype(np.float32)
    mean_a, mean_b = _blur(a), _blur(b)
    # squares of codes up to 255 leave 8 bits of a float32 for the variance: taken around 128 they leave more
    da, db = a - np.float32(128), b - np.float32(128)
    ma, mb = mean_a - np.float32(128), mean_b - np.float32(128)
    var_a, var_b, cov = _blur(da * da) - ma * ma, _blur(db * db) - mb * mb, _blur(da * db) - ma * mb
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return luminance, (2 * cov + _C2) / (var_a + var_b + _C2)


def _blur(x: Plane) -> Plane:
    """The Gaussian window, only where it lies inside: (H - 10, W - 10)."""
    taps = _window()
    height, width = x.shape[0] - 2 * _RADIUS, x.shape[1] - 2 * _RADIUS
    down = sum(x[i : i + height] * tap for i, tap in enumerate(taps))
    return sum(down[:, i : i + width] * tap for i, tap in enumerate(taps))  # type: ignore[index,return-value]


@functools.cache
def _window() -> NDArray[np.float32]:
    at = np.arange(-_RADIUS, _RADIUS + 1)
    taps = np.exp(-(at**2) / (2 * _SIGMA**2))
    return (taps / taps.sum()).astype(np.float32)


def _halve(x: Plane) -> Plane:
    height, width = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    x = x[:height, :width]
    return (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / np.float32(4)
