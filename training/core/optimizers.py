"""Optimizers that a recipe can name, and the learning rate over the training time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

DECAY = 1e-4
"""Weight decay."""

WARM_UP = 100
"""Most training steps in which the learning rate increases."""

WARM_SHARE = 0.03
"""Largest share of the training time in which it does, for trainings of few steps."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration of Jordan et al. (2024, Muon) that brings singular values near 1."""

ITERATIONS = 5

MATCHED = 0.2
"""Root mean square of an update relative to the rate, as AdamW's is in practice (Liu et al. 2025)."""


class Muon(torch.optim.AdamW):
    """AdamW whose updates of matrices and convolutions are momentum with all singular values near 1.

    A convolution counts as a matrix of its outputs by everything else. With the scale of Liu et al. (2025)
    the rates of AdamW fit; torch's own Muon takes matrices only. Vectors, and matrices of one row or column,
    are updated as by AdamW.

    Parameters
    ----------
    parameters : iterable of Parameter
        Parameters to train.
    lr : float
        Learning rate.
    momentum : float
        Share of the last momentum that stays (Nesterov's).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        every = list(parameters)
        matrices = [p for p in every if p.dim() > 1 and min(p.shape[0], p[0].numel()) > 1]
        known = {id(p) for p in matrices}
        others = [p for p in every if id(p) not in known]
        groups = [
            {"params": matrices, "momentum": momentum, "orthogonal": True},
            {"params": others, "orthogonal": False},
        ]
        super().__init__([group for group in groups if group["params"]], lr=lr, weight_decay=DECAY)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # type: ignore[override]
        """Update the parameters; return the value of the closure, if there is one."""
        matrices = [group for group in self.param_groups if group["orthogonal"]]
        gradients = {}
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in matrices:
            for p in group["params"]:
                if p.grad is not None:
                    self._orthogonal(p, p.grad, group)
                    gradients[p], p.grad = p.grad, None
        super().step()
        for p, gradient in gradients.items():
            p.grad = gradient
        return loss

    def _orthogonal(self, p: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[p]
        if "momentum" not in state:
            state.update(step=torch.zeros(()), momentum=torch.zeros_like(p))
        state["step"] += 1  # AdamW and the trainers look for it
        momentum, keep = state["momentum"], group["momentum"]
        momentum.lerp_(gradient, 1 - keep)
        update = orthogonal(gradient.lerp(momentum, keep).flatten(1)).view_as(p)
        scale = MATCHED * math.sqrt(max(p.shape[0], p[0].numel()))
        p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix (M, N) with the same singular vectors and singular values near 1, between 0.7 and 1.2.

    Very small ones stay smaller.

    Five iterations of Newton and Schulz with the coefficients of Jordan et al. (2024). Each multiplies the
    matrix from the left by a polynomial of its products with itself. These polynomials commute, so that the
    iterations run on the small square matrix alone: two large products instead of ten.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / x.norm().clamp(min=1e-12)
    square = x @ x.T
    one = torch.eye(len(square), dtype=x.dtype, device=x.device)
    left = factor = a * one + b * square + c * square @ square
    for _ in range(ITERATIONS - 1):
        square = factor @ square @ factor
        factor = a * one + b * square + c * square @ square
        left = factor @ left
    x = left @ x
    return x if wide else x.T


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr, weight_decay=DECAY),
    "muon": Muon,
}
"""Optimizers by the name that a recipe gives."""

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * min(share, 1))) + 0.005,
    "constant": lambda share: 1.0,
}
"""Learning rate relative to the recipe's, by the share of the training time that is spent."""


def rate(schedule: str, highest: float, step: int, share: float) -> float:
    """Return the learning rate: a warm-up, then a schedule over the training time.

    Parameters
    ----------
    schedule : str
        Key of :data:`SCHEDULES`.
    highest : float
        Rate of the recipe.
    step : int
        Completed training steps.
    share : float
        Share of the training time that is spent.
    """
    return highest * min(1, max((step + 1) / WARM_UP, share / WARM_SHARE)) * SCHEDULES[schedule](share)
