"""A critic that learns to tell results from originals beside the network: a small relativistic adversarial term.

It scores patches of what the network gives, luma phases and chroma, together with what the network was given, so that it knows which
original is meant. Relativistic average: a result is to look more like an original than originals look on average, and the other way
round. Source: Jolicoeur-Martineau, arXiv:1807.00734; spectral norms: Miyato et al., arXiv:1802.05957.

Axes: N, C, H, W of the network's input; x, made and target as trainer.nets.luma_chroma says.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from trainer.nets.luma_chroma import CHROMA_GAIN, MIDDLE, PLANES

LR, BETAS = 2e-4, (0.5, 0.99)
WIDTHS = (32, 48, 64)  # of the critic: a step of it costs a sixth of `base`'s


class Critic(nn.Module):
    """(N, 5, H, W) and (N, s * s + 2, H, W) -> a score for every patch of 4 x 4 input pixels, which sees 17 x 17. Any range; no bound."""

    gains: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        channels = [PLANES + scale * scale + 2, *WIDTHS]
        self.body = nn.ModuleList(
            spectral_norm(nn.Conv2d(given, made, 3, stride=stride, padding=1))
            for given, made, stride in zip(channels, channels[1:], (1, 2, 2), strict=False)
        )
        self.tail = spectral_norm(nn.Conv2d(channels[-1], 1, 3, padding=1))
        gains = torch.tensor([1.0, CHROMA_GAIN, CHROMA_GAIN, 1.0, 1.0, *[1.0] * scale**2, CHROMA_GAIN, CHROMA_GAIN])
        self.register_buffer("gains", gains.view(1, -1, 1, 1), persistent=False)

    def forward(self, x_N5HW: Tensor, made_NCHW: Tensor) -> Tensor:
        y = (torch.cat([x_N5HW, made_NCHW], 1) - MIDDLE) * self.gains
        for conv in self.body:
            y = functional.leaky_relu(conv(y), 0.2)
        scores: Tensor = self.tail(y)
        return scores


def relativistic(better: Tensor, worse: Tensor) -> Tensor:
    """Small where `better` scores above the mean of `worse`, and `worse` below that of `better`; log 2 where they are alike."""
    return (functional.softplus(worse.mean() - better).mean() + functional.softplus(worse - better.mean()).mean()) / 2


class Adversary:
    """The critic with its optimiser; their state belongs into the run's checkpoint."""

    def __init__(self, scale: int, device: torch.device) -> None:
        self.critic = Critic(scale).to(device)
        self.optimiser = torch.optim.Adam(self.critic.parameters(), lr=LR, betas=BETAS)

    def loss(self, x: Tensor, made: Tensor, target: Tensor) -> Tensor:
        """What the network is to bring down. The critic learns nothing here."""
        self.critic.requires_grad_(False)
        loss = relativistic(self.critic(x, made), self.critic(x, target))
        self.critic.requires_grad_(True)
        return loss

    def learn(self, x: Tensor, made: Tensor, target: Tensor) -> None:
        """One step of the critic."""
        loss = relativistic(self.critic(x, target), self.critic(x, made.detach()))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def state(self) -> dict[str, Any]:
        return {"critic": self.critic.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.critic.load_state_dict(state["critic"])
        self.optimiser.load_state_dict(state["optimiser"])
