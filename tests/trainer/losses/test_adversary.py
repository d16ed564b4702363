"""The critic learns to tell, and its slope leads a result to where originals are."""

import math

import pytest
import torch

from trainer.losses.adversary import Adversary, Critic, relativistic


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs, originals with fine stripes, and results without."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 5, 16, 16, generator=generator)
    soft = x[:, :1].repeat(1, 6, 1, 1)
    stripes = 0.2 * torch.tensor([1.0, -1, 1, -1, 0, 0]).view(1, 6, 1, 1)
    return x, soft + stripes, soft


def test_alike_is_log_2_and_telling_apart_is_less() -> None:
    scores = torch.randn(1, 1, 1, 1).expand(3, 1, 4, 4)
    assert float(relativistic(scores, scores)) == pytest.approx(math.log(2))
    assert float(relativistic(scores + 2, scores)) == pytest.approx(math.log(1 + math.exp(-2)))


def test_the_critic_learns_and_the_network_follows() -> None:
    torch.manual_seed(0)
    adversary = Adversary(2, torch.device("cpu"))
    for step in range(150):
        x, target, made = batch(step)
        adversary.learn(x, made, target)
    x, target, made = batch(999)
    made.requires_grad_()
    loss = adversary.loss(x, made, target)
    loss.backward()
    assert float(loss.detach()) > math.log(2) + 0.05  # it tells them apart
    assert made.grad is not None
    assert float((made.grad * (target - made.detach())).sum()) < 0  # downhill is towards the stripes


def test_the_loss_of_the_network_leaves_the_critic_alone() -> None:
    adversary = Adversary(3, torch.device("cpu"))
    x, made = torch.rand(1, 5, 12, 12), torch.rand(1, 11, 12, 12, requires_grad=True)
    adversary.loss(x, made, torch.rand(1, 11, 12, 12)).backward()
    assert made.grad is not None
    assert all(weight.grad is None and weight.requires_grad for weight in adversary.critic.parameters())


def test_a_score_sees_as_far_as_it_says() -> None:
    critic = Critic(2).eval()
    x = torch.rand(1, 5, 48, 48)
    made = torch.rand(1, 6, 48, 48, requires_grad=True)
    critic(x, made)[0, 0, 6, 6].backward()
    assert made.grad is not None
    seen = made.grad.abs().sum((0, 1)).nonzero()
    assert (seen.max(0).values - seen.min(0).values + 1).tolist() == [17, 17]
