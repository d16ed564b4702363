"""The decoupled attention agrees with a dense one that loops over every position in float64."""

import numpy as np
import pytest
import torch

from trainer.metric.bidirectional_attention import attend_both, axial_attention


def dense(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(C, H, W) float64 each. Every position asks all H W positions; those outside its row (its column) are masked out."""
    c, height, width = q.shape
    flat = [x.reshape(c, -1).T for x in (q, k, v)]
    logits = flat[0] @ flat[1].T / np.sqrt(c)
    y, x = np.divmod(np.arange(height * width), width)
    result = np.zeros((height * width, v.shape[0]))
    for same in (y[:, None] == y[None], x[:, None] == x[None]):
        weights = np.where(same, np.exp(logits), 0.0)
        result += weights / weights.sum(1, keepdims=True) @ flat[2] / 2
    return result.T.reshape(-1, height, width)


@pytest.mark.parametrize("shape", [(8, 5, 7), (16, 1, 6), (3, 9, 2)], ids=str)
def test_axial_attention_agrees_with_a_dense_float64_reference(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(0, 2, (3, 2, *shape))
    got = axial_attention(*(torch.from_numpy(x) for x in (q, k, v))).numpy()
    for n in range(2):
        assert np.abs(got[n] - dense(q[n], k[n], v[n])).max() < 1e-12
    single = axial_attention(*(torch.from_numpy(x).float() for x in (q, k, v))).numpy()
    assert np.abs(single - got).max() < 1e-5


def test_each_stream_asks_the_other_and_weighs_its_own_values() -> None:
    rng = np.random.default_rng(1)
    tensors = [torch.from_numpy(rng.normal(0, 1, (1, 4, 5, 6))) for _ in range(6)]
    q1, k1, v1, q2, k2, v2 = (t[0].numpy() for t in tensors)
    first, second = attend_both(*tensors, behaviour="fixed")
    assert np.allclose(first[0].numpy(), dense(q1, k2, v1), atol=1e-12)
    assert np.allclose(second[0].numpy(), dense(q2, k1, v2), atol=1e-12)


def test_fixed_weights_add_up_to_one_and_papers_do_not() -> None:
    rng = np.random.default_rng(2)
    q, k = (torch.from_numpy(rng.normal(0, 1, (1, 4, 5, 6))) for _ in range(2))
    ones = torch.ones(1, 4, 5, 6, dtype=torch.float64)
    assert torch.allclose(axial_attention(q, k, ones), ones)
    assert not torch.allclose(axial_attention(q, k, ones, behaviour="paper"), ones, atol=0.05)


def test_papers_logits_are_divided_by_the_deviation_of_the_whole_batch() -> None:
    rng = np.random.default_rng(3)
    q, k, v = (torch.from_numpy(rng.normal(0, 1, (2, 4, 5, 6))) for _ in range(3))
    together = axial_attention(q, 3 * k, v, behaviour="paper")
    assert torch.allclose(together, axial_attention(q, k, v, behaviour="paper"))  # a common factor drops out
    rows = torch.einsum("nchi,nchj->nhij", q, k)
    columns = torch.einsum("nciw,ncjw->nwij", q, k)
    expected = torch.einsum("nhij,nchj->nchi", torch.softmax(rows / rows.std(), 2), v)
    expected = expected + torch.einsum("nwij,ncjw->nciw", torch.softmax(columns / columns.std(), 2), v)
    assert torch.allclose(together, expected / 2)
