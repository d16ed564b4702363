"""The optimiser against what its definition implies: it does not care how the problem is turned."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from trainer.nets import Lite
from trainer.soap import Soap


def orthogonal(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]


def noisy_bowl(weights: Tensor, step: int) -> Tensor:
    """A quadratic whose curvature differs by a factor of 10,000 between directions, sloped another way in each step."""
    rows, columns = (torch.logspace(0, 1, n, dtype=torch.float64) for n in weights.shape)
    slope = torch.randn(weights.shape, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return (((weights - 1) * rows[:, None] * columns[None]) ** 2 + weights * slope).sum()


def descend(loss: Callable[[Tensor, int], Tensor], start: Tensor, steps: int) -> Tensor:
    weights = start.clone().requires_grad_()
    optimiser = Soap([weights], lr=0.02)
    for step in range(steps):
        optimiser.zero_grad()
        loss(weights, step).backward()
        optimiser.step()
    return weights.detach()


def test_turning_the_problem_turns_the_path() -> None:
    u, v = orthogonal(5, 1), orthogonal(5, 2)  # square: a gradient then has no null space, where any basis is as good as another
    start = torch.randn(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain = descend(noisy_bowl, start, 40)
    turned = descend(lambda w, step: noisy_bowl(u.T @ w @ v, step), u @ start @ v.T, 40)
    assert torch.allclose(u.T @ turned @ v, plain, atol=1e-6)
    assert not torch.allclose(plain, start, atol=0.1)


def test_a_network_learns_faster_than_with_adam() -> None:
    """Another network's answers: half the error that Adam leaves at the best of three rates."""
    torch.manual_seed(0)
    teacher = Lite(2, channels=8, layers=2)
    for conv in (teacher.head, *teacher.body, teacher.tail):
        torch.nn.init.orthogonal_(conv.weight)
    pictures = torch.rand(8, 1, 16, 16)
    with torch.no_grad():
        answers = teacher(pictures)

    def error_after(make: Callable[[Iterable[Tensor]], torch.optim.Optimizer]) -> float:
        torch.manual_seed(1)
        student = Lite(2, channels=8, layers=2)
        optimiser = make(student.parameters())
        for _ in range(400):
            optimiser.zero_grad()
            error = torch.nn.functional.mse_loss(student(pictures), answers)
            error.backward()
            optimiser.step()
        return float(error.detach())

    adam = min(error_after(lambda p, lr=lr: torch.optim.Adam(p, lr=lr)) for lr in (1e-3, 3e-3, 1e-2))
    assert error_after(lambda p: Soap(p, lr=3e-3)) < 0.5 * adam


def test_weights_without_a_gradient_stay() -> None:
    weights = torch.ones(3, 2, requires_grad=True)
    Soap([weights], lr=0.1).step()
    assert torch.equal(weights, torch.ones(3, 2))


def test_a_first_gradient_in_a_single_row_leaves_numbers() -> None:
    # such as a network that was grown from a smaller one has; eigenvectors in float32 were NaN for some of these
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        weights = torch.zeros(32, 288, requires_grad=True)
        slope = torch.zeros(32, 288)
        slope[0] = torch.randn(288, generator=generator) * (torch.rand(288, generator=generator) < 0.3)
        optimiser = Soap([weights], lr=0.1)
        for _ in range(3):
            weights.grad = slope.clone()
            optimiser.step()
        assert torch.isfinite(weights).all()
        assert float(weights.detach().abs().max()) > 0.05
