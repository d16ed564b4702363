"""A `Base` that was grown from a `Lite` starts as it, and learns from the first step on."""

import pathlib

import onnx
import pytest
import torch

from trainer.checkpoint import seed_network
from trainer.export.onnx_base import onnx_of_base
from trainer.export.onnx_lite import onnx_of
from trainer.nets import Base, Lite
from trainer.nets.grow import can_grow, grown


def trained_lite(channels: int = 8, layers: int = 5) -> Lite:
    """Weights that are not what a network starts from."""
    torch.manual_seed(0)
    net = Lite(2, channels, layers)
    with torch.no_grad():
        for param in net.parameters():
            param.add_(torch.randn_like(param) * 0.1)
    return net


@pytest.mark.parametrize("radius", [0, 3])
@pytest.mark.parametrize("layers", [3, 7])
def test_it_computes_what_the_lite_computes_whatever_the_state(layers: int, radius: int) -> None:
    lite = trained_lite(layers=layers)
    net = Base(2, 16, layers - 1, radius=radius)
    net.load_state_dict(grown(lite.state_dict(), net))
    luma = torch.rand(2, 1, 20, 24)
    with torch.no_grad():
        wanted = lite(luma)
        for state in (net.first_state(luma), (torch.randn(2, 16, 20, 24),)):
            torch.testing.assert_close(net(luma, state)[0], wanted, rtol=0, atol=1e-5)


def test_the_state_is_learned_from_the_first_step_on() -> None:
    net = Base(2, 16, 4, radius=2)
    net.load_state_dict(grown(trained_lite().state_dict(), net))
    luma = torch.rand(1, 1, 16, 16)
    _, state = net(luma, net.first_state(luma))
    net(luma, state)[0].square().mean().backward()
    assert float(net.join.weight.grad.abs().max()) > 0  # type: ignore[union-attr]


def test_what_does_not_fit_does_not_grow() -> None:
    lite = trained_lite().state_dict()
    assert can_grow(lite, Base(2, 16, 4))
    assert not can_grow(lite, Base(2, 32, 4))  # not twice as wide
    assert not can_grow(lite, Base(2, 16, 6))  # deeper
    assert not can_grow(lite, Base(3, 16, 4))  # another scale
    assert not can_grow(lite, Base(2, 16, 4, recurrent=False))
    assert not can_grow(Lite(2, 8, 5, tail=3).state_dict(), Base(2, 16, 4))  # no first features before the last convolution
    assert not can_grow(Base(2, 16, 4).state_dict(), Base(2, 16, 4))


def test_an_exported_lite_seeds_a_base_and_an_exported_base_another(tmp_path: pathlib.Path) -> None:
    lite = trained_lite()
    onnx.save(onnx_of(lite), tmp_path / "lite_x2.onnx")
    first, second = Base(2, 16, 4), Base(2, 16, 4)
    luma = torch.rand(1, 1, 16, 16)
    assert seed_network(first, tmp_path / "lite_x2.onnx") == []
    torch.testing.assert_close(first(luma, first.first_state(luma))[0], lite(luma), rtol=0, atol=1e-5)
    onnx.save(onnx_of_base(first), tmp_path / "base_x2.onnx")
    assert seed_network(second, tmp_path / "base_x2.onnx") == []
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
