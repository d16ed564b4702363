"""Deformable convolution against a plain convolution, and against a loop over every sample in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from trainer.metric.deformable import MultiScaleDeformConv, deform_conv


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_without_offsets_it_is_a_convolution(kernel: int) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 6, 11, 8, dtype=torch.float64), torch.randn(4, 6, kernel, kernel, dtype=torch.float64)
    offset = torch.zeros(2, 2 * kernel * kernel, 11, 8, dtype=torch.float64)
    assert torch.allclose(deform_conv(x, offset, weight), functional.conv2d(x, weight, padding=kernel // 2), atol=1e-10)


def looped(x: np.ndarray, offset: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """One picture (C, H, W): bilinear samples at displaced taps, zero outside, one at a time."""
    c, height, width = x.shape
    o, _, k, _ = weight.shape
    result = np.zeros((o, height, width))
    for i, j in np.ndindex(height, width):
        for t in range(k * k):
            y = i + t // k - k // 2 + offset[2 * t, i, j]
            xx = j + t % k - k // 2 + offset[2 * t + 1, i, j]
            sample = np.zeros(c)
            for yy in (int(np.floor(y)), int(np.floor(y)) + 1):
                for xi in (int(np.floor(xx)), int(np.floor(xx)) + 1):
                    if 0 <= yy < height and 0 <= xi < width:
                        sample += (1 - abs(y - yy)) * (1 - abs(xx - xi)) * x[:, yy, xi]
            result[:, i, j] += weight[:, :, t // k, t % k] @ sample
    return result


def test_displaced_taps_are_sampled_bilinearly() -> None:
    rng = np.random.default_rng(1)
    x, weight = rng.normal(0, 1, (3, 6, 5)), rng.normal(0, 1, (2, 3, 3, 3))
    offset = rng.uniform(-2.5, 2.5, (18, 6, 5))
    got = deform_conv(torch.from_numpy(x)[None], torch.from_numpy(offset)[None], torch.from_numpy(weight))[0].numpy()
    assert np.abs(got - looped(x, offset, weight)).max() < 1e-10


def test_the_multi_scale_form_starts_as_four_convolutions() -> None:
    torch.manual_seed(0)
    layer = MultiScaleDeformConv(8).double()
    x = torch.randn(1, 8, 12, 10, dtype=torch.float64)
    parts = [functional.conv2d(x, part.weight, part.bias, padding=k // 2) for k, part in zip((3, 5, 7, 9), layer.parts, strict=True)]
    assert [part.shape[1] for part in parts] == [2, 2, 2, 2]
    assert torch.allclose(layer(x), layer.mix(torch.cat(parts, 1)), atol=1e-10)


def test_offsets_learn_from_the_start() -> None:
    torch.manual_seed(0)
    layer = MultiScaleDeformConv(8)
    layer(torch.randn(1, 8, 12, 10)).square().mean().backward()
    for part in layer.parts:
        assert part.offset.weight.grad.abs().sum() > 0
