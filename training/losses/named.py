"""Losses of label segmentation by name, of logits against class positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1.0
"""Added to numerator and denominator of soft Dice."""

GAMMA = 2.0
"""Exponent of the focal loss."""


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy.

    Parameters
    ----------
    logits : Tensor, shape (B, C, X, Y, Z)
        Logits.
    target : Tensor of int64, shape (B, X, Y, Z)
        Class positions.
    weight : Tensor, shape (C,), optional
        Weights of the classes.
    """
    return F.cross_entropy(logits, target, weight)


def focal(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the focal loss (Lin et al. 2017): cross-entropy that counts less where the network is right."""
    each = F.cross_entropy(logits, target, weight, reduction="none")
    right = logits.softmax(1).gather(1, target[:, None])[:, 0]
    return ((1 - right) ** GAMMA * each).mean()


def dice(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return one minus the mean soft Dice over the batch of the labels in the target, background left out.

    Examples
    --------
    >>> target = torch.tensor([[[[0, 1]]]])
    >>> sure = F.one_hot(target, 3).movedim(-1, 1) * 100.0
    >>> round(float(dice(sure, target)), 3)
    0.0
    """
    p = logits.softmax(1)
    truth = F.one_hot(target, logits.shape[1]).movedim(-1, 1).to(p.dtype)
    over = (0, *range(2, p.dim()))
    size = truth.sum(over)
    score = (2 * (p * truth).sum(over) + EPSILON) / (p.sum(over) + size + EPSILON)
    present = (size > 0) & (torch.arange(len(size), device=size.device) > 0)
    counts = present.to(p.dtype) * (1.0 if weight is None else weight.to(p.dtype))
    if not bool(present.any()):  # a batch without labels: nothing must be found
        return 1 - score[1:].mean()
    return 1 - (score * counts).sum() / counts.sum().clamp(min=1e-6)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
}
"""Functions of logits, class positions and class weights, by name; a recipe adds them up with its weights."""
