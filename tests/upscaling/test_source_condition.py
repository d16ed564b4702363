"""What a source's condition is taken for: more blur and more noise say so, whatever the picture's size and depth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from streamsr.upscaling.source_condition import Condition, estimate, measure


def draw_scene(side: int = 192) -> np.ndarray:
    """Flat and textured shapes with sharp edges, at twice the size, float codes."""
    rng = np.random.default_rng(4)
    picture = np.full((2 * side, 2 * side), 120.0)
    for _ in range(60):
        y, x, h, w = (int(v) for v in (*rng.integers(0, 2 * side - 20, 2), *rng.integers(8, 90, 2)))
        picture[y : y + h, x : x + w] = rng.uniform(20, 230) + rng.normal(0, rng.choice([0, 0, 12]), picture[y : y + h, x : x + w].shape)
    return np.clip(picture, 16, 235)


def small(picture: np.ndarray, blur: float = 0.0, noise: float = 0.0) -> np.ndarray:
    """Half the size, after a blur of `blur` pixels, with noise of `noise` codes."""
    blurred = gaussian_filter(picture, blur) if blur else picture
    half = zoom(gaussian_filter(blurred, 0.5), 0.5, order=1, grid_mode=True, mode="nearest")
    return np.clip(np.rint(half + np.random.default_rng(1).normal(0, noise, half.shape)), 0, 255).astype(np.uint8)


def test_more_blur_is_estimated_as_more() -> None:
    found = [estimate([small(draw_scene(), blur)]).blur for blur in (0.0, 0.6, 1.2, 1.8)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 0.4


def test_more_noise_is_estimated_as_more() -> None:
    found = [estimate([small(draw_scene(), noise=noise)]).damage for noise in (0.0, 6.0, 14.0)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 0.2


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_depth_makes_no_difference(bits: int) -> None:
    luma = small(draw_scene(), 0.8, 2.0)
    deep = luma.astype(np.uint16) << (bits - 8)
    assert np.allclose(measure(luma), measure(deep, bits=bits), atol=1e-4)


def test_median_of_several_frames() -> None:
    sharp, soft = small(draw_scene()), small(draw_scene(), 1.8)
    assert estimate([sharp, soft, soft]) == estimate([soft])


def test_a_picture_too_small_to_say_is_clean() -> None:
    assert estimate([np.zeros((20, 300), np.uint8)]) == Condition(0.0, 0.0)
    with pytest.raises(ValueError, match="48 pixels"):
        measure(np.zeros((20, 300), np.uint8))


def test_large_pictures_are_sampled() -> None:
    luma = np.tile(small(draw_scene(), 0.8, 2.0), (8, 8))
    one, many = estimate([luma[:768, :768]]), estimate([luma])
    assert abs(one.blur - many.blur) < 0.1
    assert abs(one.damage - many.damage) < 0.1
