"""The shipped metric in torch: the same scores as its file, a slope for the result, and clear words for other files."""

from __future__ import annotations

import pathlib
from importlib.resources import files

import onnx
import pytest
import torch

from trainer.metric import EfficientPBAN
from trainer.metric.ensemble import MetricEnsemble
from trainer.metric.experiment import load_metric, metric_named
from trainer.metric.metric_export import score_error
from trainer.metric.shipped_metric import open_shipped
from trainer.trainer_error import TrainerError

pytest.importorskip("onnxruntime")
SHIPPED = pathlib.Path(str(files("streamsr") / "weights" / "metric" / "efficient_pban.onnx"))


@pytest.fixture(scope="module")
def metric() -> MetricEnsemble:
    return load_metric(SHIPPED)


def test_it_scores_as_its_file_does(metric: MetricEnsemble) -> None:
    assert len(metric.jurors) == 4
    assert score_error(metric, SHIPPED.read_bytes()) < 2e-3


def test_it_is_a_loss(metric: MetricEnsemble) -> None:
    hr = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    sr = (hr + 0.1 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
    (1 - metric(sr, hr)).mean().backward()
    assert sr.grad is not None
    assert torch.isfinite(sr.grad).all()
    assert sr.grad.abs().max() > 0
    assert not any(value.requires_grad for value in metric.parameters())


def test_its_distances_alone_hear_no_opinion(metric: MetricEnsemble) -> None:
    hr = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    sr, distances = hr.roll(1, -1), metric_named("distances")
    assert torch.equal(metric_named("shipped")(sr, hr), metric(sr, hr))
    with_opinion, without = metric.energy(sr, hr), distances.energy(sr, hr)
    assert not torch.allclose(without, with_opinion)
    for juror in distances.jurors:
        torch.nn.init.constant_(juror.network.judge.bias, 5.0)  # type: ignore[union-attr, arg-type]
    assert torch.equal(distances.energy(sr, hr), without)


def test_another_file_is_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "metric.onnx"
    file.write_text("not a metric")
    with pytest.raises(TrainerError, match=r"metric\.onnx' is not the shipped form of a metric"):
        open_shipped(file)


def test_a_file_with_other_arithmetic_is_refused(tmp_path: pathlib.Path) -> None:
    """What the file computes besides its weights is part of the check: here it gives the square of its score."""
    model = onnx.load(SHIPPED)
    last = next(node for node in model.graph.node if "score" in node.output)
    last.output[0] = "plain"
    model.graph.node.append(onnx.helper.make_node("Mul", ["plain", "plain"], ["score"]))
    onnx.save(model, tmp_path / "metric.onnx")
    with pytest.raises(TrainerError, match=r"metric\.onnx'"):
        open_shipped(tmp_path / "metric.onnx")


def test_a_training_loop_lowers_it() -> None:
    """The example of its docstring: a step along the slope brings the result closer to the original, by the metric."""
    criterion = EfficientPBAN()
    original = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert criterion(original, original).item() == pytest.approx(0, abs=1e-5)
    result = (0.7 * original + 0.15).requires_grad_()
    before = criterion(result, original)
    before.backward()
    assert result.grad is not None
    after = criterion((result - 0.002 * result.grad.sign()).clamp(0, 1), original)
    assert 0 < after.item() < before.item() < 1
    assert torch.equal(1 - criterion.score(original, original), criterion(original, original)[None])
