"""Efficient-PBAN: what a score may depend on, gradients, sizes, cost."""

import pytest
import torch
from torch import Tensor, nn

from trainer.metric.deformable import DeformConv
from trainer.metric.pban_network import Behaviour, EfficientPban

FLIP_TOLERANCE = 0.06  # of the range (0, 1), untrained: EfficientNet-Lite0 pads one side only, so a flip is not exact
BATCH_TOLERANCE = 1e-5  # order of float32 sums


@pytest.fixture(scope="module")
def network() -> EfficientPban:
    torch.manual_seed(0)
    return EfficientPban().eval()


def pictures(height: int = 128, width: int = 160, n: int = 1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Blurred and sharp smooth noise."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(n, 3, height // 8, width // 8, generator=generator)
    hr = nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)
    hr = (hr + 0.1 * torch.rand(hr.shape, generator=generator)).clamp(0, 1)
    return nn.functional.avg_pool2d(hr, 5, 1, 2), hr


@torch.no_grad()
def test_a_score_does_not_depend_on_the_batch(network: EfficientPban) -> None:
    sr, hr = pictures(n=3)
    together = network(sr, hr)
    assert together.shape == (3,)
    assert ((together > 0) & (together < 1)).all()
    assert together.std() > 1e-5
    for i in range(3):
        assert torch.allclose(network(sr[i : i + 1], hr[i : i + 1]), together[i : i + 1], atol=BATCH_TOLERANCE)
    moved = sr.clone()
    moved[1:] = 1 - moved[1:]
    assert torch.allclose(network(moved, hr)[:1], together[:1], atol=BATCH_TOLERANCE)


@pytest.mark.parametrize(("behaviour", "low", "high"), [("paper", 1e-4, 9.0), ("fixed", 0.0, 1e-6)])
@torch.no_grad()
def test_only_the_paper_behaviour_looks_at_the_neighbours(behaviour: Behaviour, low: float, high: float) -> None:
    torch.manual_seed(0)
    net = EfficientPban(behaviour=behaviour).eval()
    sr, hr = torch.randn(2, 2, net.encoder.channels[-1], 8, 9)
    change = net.opinion(sr, hr)[0] - net.opinion(torch.cat([sr[:1], 20 * sr[1:]]), hr)[0]
    assert low <= change.abs() <= high


@pytest.mark.parametrize("axis", [2, 3])
@torch.no_grad()
def test_a_flip_changes_the_score_by_less_than_the_tolerance(network: EfficientPban, axis: int) -> None:
    sr, hr = pictures()
    assert (network(sr, hr) - network(sr.flip(axis), hr.flip(axis))).abs() < FLIP_TOLERANCE


def test_gradients_reach_both_inputs(network: EfficientPban) -> None:
    sr, hr = (x.requires_grad_() for x in pictures())
    network(sr, hr).sum().backward()
    for x in (sr, hr):
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert x.grad.abs().sum() > 0


@pytest.mark.slow
def test_gradients_of_the_paper_behaviour_reach_both_inputs() -> None:
    torch.manual_seed(0)
    test_gradients_reach_both_inputs(EfficientPban(behaviour="paper").eval())


def test_a_training_step_moves_everything_but_the_frozen_parts() -> None:
    torch.manual_seed(0)
    net = EfficientPban().train()
    sr, hr = pictures(n=2)
    net(sr, hr).sum().backward()
    silent = [name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.isfinite().all())]
    assert silent == []
    frozen = {".".join(name.split(".")[1:3]) for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"stem.0", "stem.1", "blocks.0"}


@pytest.mark.parametrize("size", [(96, 96), (97, 131), (255, 113), (97, 3839)], ids=str)
@torch.no_grad()
def test_odd_sizes_have_a_score(network: EfficientPban, size: tuple[int, int]) -> None:
    assert 0 < network(*pictures(*size)) < 1


@torch.no_grad()
def test_4k_has_an_opinion(network: EfficientPban) -> None:
    # from the features on: what the encoder does to each part of a picture does not depend on the picture's size
    sr, hr = torch.randn(2, 1, network.encoder.channels[-1], 2160 // 16, 3840 // 16)
    assert network.opinion(sr, hr).isfinite().all()


@pytest.mark.parametrize(("sr", "hr", "words"), [
    ((1, 3, 95, 128), (1, 3, 95, 128), "96 pixels"),
    ((1, 3, 96, 128), (1, 3, 128, 96), "differ in shape"),
    ((1, 1, 96, 96), (1, 1, 96, 96), "Pictures are"),
])  # fmt: skip
def test_wrong_shapes_are_refused(network: EfficientPban, sr: tuple[int, ...], hr: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        network(torch.zeros(sr), torch.zeros(hr))


def multiply_adds(net: EfficientPban, side: int) -> float:
    """Counted by hooks on every convolution and linear layer; deformable ones by their taps, attention by its two products."""
    counted = 0

    def count(module: nn.Module, given: tuple[Tensor], made: Tensor) -> None:
        nonlocal counted
        weight = module.weight
        assert isinstance(weight, Tensor)
        counted += made[0].numel() * weight[0].numel()

    handles = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear | DeformConv)]  # type: ignore[arg-type]
    with torch.no_grad():
        net(torch.zeros(1, 3, side, side), torch.zeros(1, 3, side, side))
    for handle in handles:
        handle.remove()
    positions = side // net.encoder.strides[-1]
    # two streams, rows and columns, logits and values
    return counted + 2 * 2 * 2 * net.encoder.channels[-1] * positions**3


def test_resnet34_costs_what_the_paper_says() -> None:
    net = EfficientPban(encoder="resnet34", encoder_weights="random").eval()
    assert multiply_adds(net, 512) / 1e9 == pytest.approx(43.2, abs=0.3)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(21.9, abs=0.1)


def test_lite0_costs_an_eighth_of_it() -> None:
    net = EfficientPban().eval()
    assert multiply_adds(net, 512) / 1e9 == pytest.approx(5.2, abs=0.1)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(3.8, abs=0.1)
