"""`max`: it starts as the network that it was widened from, learns from the first step on, and sees as far as it says."""

import numpy as np
import onnxruntime
import pytest
import torch

from trainer.export.onnx_luma_chroma import onnx_of
from trainer.nets.luma_chroma import LumaChroma, split
from trainer.nets.recurrent_luma_chroma import RecurrentLumaChroma, played, widened


def trained(channels: int = 8, layers: int = 2) -> LumaChroma:
    """Weights that are not what a network starts from."""
    torch.manual_seed(0)
    net = LumaChroma(2, channels, layers, residual=True)
    with torch.no_grad():
        for param in net.parameters():
            param.add_(torch.randn_like(param) * 0.1)
    return net


def grown_from(narrow: LumaChroma, *, radius: int) -> RecurrentLumaChroma:
    net = RecurrentLumaChroma(2, 12, 6, radius=radius)
    net.load_state_dict(widened(narrow.state_dict(), net))
    return net


@pytest.mark.parametrize("radius", [0, 3])
def test_it_starts_as_what_it_was_widened_from_whatever_the_state(radius: int) -> None:
    narrow = trained()
    net, x = grown_from(narrow, radius=radius), torch.rand(2, 5, 20, 24)
    with torch.no_grad():
        for state in (net.first_state(x), (torch.randn(2, 12, 20, 24),)):
            torch.testing.assert_close(net(x, state)[0], narrow(x), rtol=0, atol=1e-5)


def test_every_weight_learns_within_three_steps() -> None:
    net = grown_from(trained(), radius=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):  # what reads the state learns first, then what writes it
        optimiser.zero_grad()
        (played(net, torch.rand(3, 1, 5, 12, 12)) - 0.3).square().mean().backward()
        optimiser.step()
    assert all(not torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(("channels", "layers", "match"), [(16, 2, "16 channels"), (8, 8, "8 layers"), (8, 3, "3 layers")])
def test_what_does_not_fit_is_refused(channels: int, layers: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        widened(LumaChroma(2, channels, layers).state_dict(), RecurrentLumaChroma(2, 12, 6, radius=0))


@pytest.mark.parametrize("radius", [0, 2, 9])
def test_reach_of_one_step(radius: int) -> None:
    torch.manual_seed(1)
    net = RecurrentLumaChroma(2, 6, 4, radius=radius).double()
    for param in net.parameters():
        torch.nn.init.normal_(param, std=0.3)
    x, state = torch.rand(1, 5, 49, 49).double(), (torch.rand(1, 6, 49, 49).double(),)
    reach = 0
    with torch.no_grad():
        made = net(x, state)
        for part in (x, *state):
            moved = part.clone()
            moved[..., 24, 24] += 0.5
            now = net(*((moved, state) if part is x else (x, (moved,))))
            for old, new in ((made[0], now[0]), (made[1][0], now[1][0])):
                changed = (old != new).any(1)[0].nonzero()
                reach = max(reach, int((changed - 24).abs().max()))
    assert reach == net.receptive_radius


def test_it_costs_what_hooks_count() -> None:
    net, counted = RecurrentLumaChroma(2), 0

    def count(module: torch.nn.Module, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal counted
        if isinstance(module, torch.nn.Conv2d):
            counted += output[0].numel() * module.weight[0].numel()
        else:  # attention: dot products and weighted sums, 2 axes, 2 directions
            counted += 24 * 32 * 2 * 2 * 13 * (8 + 16)

    for module in [*net.modules()]:
        if isinstance(module, torch.nn.Conv2d) or module is net.attention:
            module.register_forward_hook(count)
    x = torch.zeros(1, 5, 24, 32)
    net(x, net.first_state(x))
    assert counted / (24 * 32) + net.interpolation.numel() == net.macs_per_pixel  # interpolation is no module


@pytest.mark.parametrize(("scale", "radius"), [(2, 6), (3, 2), (4, 0)])
def test_onnx_runtime_follows_torch_over_frames(scale: int, radius: int) -> None:
    torch.manual_seed(scale)
    net = RecurrentLumaChroma(scale, 16, 4, radius=radius).eval()
    torch.nn.init.normal_(net.join.weight, std=0.1)
    model = onnx_of(net)
    assert [function.name for function in model.functions] == (["LocalAxialAttention"] if radius else [])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for n, h, w in ((1, 19, 14), (3, 8, 8)):
        x_TN5HW = torch.rand(4, n, 5, h, w)
        x_TN5HW[:, :, 3:] = x_TN5HW[:, :1, 3:, :1, :1]  # the condition of a frame is two numbers
        state = net.first_state(x_TN5HW[0])
        given = state[0].numpy()
        for x in x_TN5HW:
            with torch.no_grad():
                made, state = net(x, state)
            ports = {"luma": x[:, :1].numpy(), "chroma": x[:, 1:3].numpy(), "condition": x[:1, 3:, :1, :1].numpy(), "state_0": given}
            *got, given = session.run(["luma_hr", "chroma_hr", "state_0_next"], ports)
            for one, expected in zip((*got, given), (*split(made, scale), *state), strict=True):
                np.testing.assert_allclose(one, expected.numpy(), atol=1e-5)


def test_runs_are_played_with_the_state_and_without_one_all_at_once() -> None:
    x_TN5HW = torch.rand(3, 2, 5, 10, 10)
    net = grown_from(trained(), radius=1)
    torch.nn.init.normal_(net.join.weight, std=0.2)
    with torch.no_grad():
        made, state = played(net, x_TN5HW), net.first_state(x_TN5HW[0])
        for x, result in zip(x_TN5HW, made, strict=True):
            expected, state = net(x, state)
            torch.testing.assert_close(result, expected)
        assert not torch.allclose(played(net, x_TN5HW[1:])[0], made[1])  # what came before counts
        plain = trained()
        torch.testing.assert_close(played(plain, x_TN5HW)[2], plain(x_TN5HW[2]))
