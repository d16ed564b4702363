"""The attention of a frame and a state is the plain sum."""

import numpy as np
import pytest
import torch

from trainer.nets.local_axial_attention import local_axial_attention


def reference(query: np.ndarray, key: np.ndarray, value: np.ndarray, radius: int) -> np.ndarray:
    """float64 (D, H, W), (D, H, W), (C, H, W) -> (C, H, W), position by position."""
    height, width = query.shape[1:]
    result = np.zeros_like(value)
    for y in range(height):
        for x in range(width):
            for down, right in ((0, 1), (1, 0)):
                scores, values = [], []
                for step in range(-radius, radius + 1):
                    at = (y + down * step, x + right * step)
                    inside = 0 <= at[0] < height and 0 <= at[1] < width
                    scores.append(query[:, y, x] @ key[:, at[0], at[1]] if inside else 0.0)
                    values.append(value[:, at[0], at[1]] if inside else np.zeros(len(value)))
                weights = np.exp(scores) / np.exp(scores).sum()
                result[:, y, x] += sum(weight * one for weight, one in zip(weights, values, strict=True)) / 2
    return result


@pytest.mark.parametrize("radius", [1, 4])
def test_attention_is_the_plain_sum(radius: int) -> None:
    rng = np.random.default_rng(radius)
    query, key, value = rng.normal(size=(3, 7, 9)), rng.normal(size=(3, 7, 9)), rng.normal(size=(5, 7, 9))
    got = local_axial_attention(*(torch.from_numpy(side)[None] for side in (query, key, value)), radius=radius)[0].numpy()
    np.testing.assert_allclose(got, reference(query, key, value, radius), rtol=0, atol=1e-12)
