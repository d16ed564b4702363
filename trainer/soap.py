"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

Source: Vyas et al. 2024, arXiv:2409.11321. A convolution's weights (O, I, K, K) are seen as a matrix (O, I * K * K), whose two
covariances of gradients are small in a network of this size: a step costs a tenth more than Adam's. The first gradient only sets the first
basis.
"""

from collections.abc import Iterable

import torch
from torch import Tensor


class Soap(torch.optim.Optimizer):
    """lr: step length as for Adam; beta: decay of every average; refresh: steps between two updates of the basis."""

    def __init__(self, params: Iterable[Tensor], lr: float, beta: float = 0.95, eps: float = 1e-8, refresh: int = 10) -> None:
        super().__init__(params, {"lr": lr, "beta": beta, "eps": eps, "refresh": refresh})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients that the parameters hold."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group["lr"], group["beta"], group["eps"], group["refresh"])

    def _update(self, param: Tensor, lr: float, beta: float, eps: float, refresh: int) -> None:
        grad = param.grad.reshape(len(param), -1)  # type: ignore[union-attr]
        state = self.state[param]
        if not state:
            state |= {"step": 0, "mean": torch.zeros_like(grad), "square": torch.zeros_like(grad)}
            for side, covariance in (("left", grad @ grad.T), ("right", grad.T @ grad)):
                state[side] = covariance
                state[f"{side}_basis"] = torch.linalg.eigh(covariance.double())[1].to(covariance)  # float32 gave NaN for a sparse one
            return  # in its own basis a gradient is diagonal, and what rounding left beside the diagonal would count in full
        state["step"] += 1
        left, right = state["left_basis"], state["right_basis"]
        turned = left.T @ grad @ right
        state["mean"].lerp_(grad, 1 - beta)
        state["square"].lerp_(turned * turned, 1 - beta)
        step = int(state["step"])  # a tensor in checkpoints of before
        unbiased = 1 - beta**step
        update = (left.T @ state["mean"] @ right / unbiased) / ((state["square"] / unbiased).sqrt() + eps)
        param.add_((left @ update @ right.T).view_as(param), alpha=-lr)
        state["left"].lerp_(grad @ grad.T, 1 - beta)
        state["right"].lerp_(grad.T @ grad, 1 - beta)
        if step % refresh == 0 or step < 2 * refresh:
            for side in ("left", "right"):  # one power iteration follows the slowly turning eigenvectors
                state[f"{side}_basis"] = torch.linalg.qr(state[side] @ state[f"{side}_basis"])[0]
