"""Adam without ``torch.optim``, whose first use imports PyTorch's compiler: seconds in every process."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Decay of the running mean of gradients and of their squares, and the summand of the denominator."""


class Adam:
    """Gradient descent with steps scaled by running moments (Kingma and Ba, 2015, arXiv:1412.6980).

    The steps are those of ``torch.optim.Adam`` to the bit.

    Parameters
    ----------
    groups : sequence of tuple of (sequence of Tensor, float)
        Parameters that require gradients, and their learning rate.
    """

    def __init__(self, groups: Sequence[tuple[Sequence[Tensor], float]]) -> None:
        self._moments = [
            (one, torch.zeros_like(one), torch.zeros_like(one), rate) for ones, rate in groups for one in ones
        ]
        self._steps = 0

    def step(self, loss: Tensor) -> None:
        """Change the parameters so that a loss falls.

        Parameters
        ----------
        loss : Tensor, shape ()
            Function of the parameters.
        """
        gradients = torch.autograd.grad(loss, [one for one, *_ in self._moments])
        self._steps += 1
        root = math.sqrt(1 - SQUARE_DECAY**self._steps)
        with torch.no_grad():
            for (one, mean, square, rate), gradient in zip(self._moments, gradients, strict=True):
                mean.lerp_(gradient, 1 - DECAY)
                square.mul_(SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - SQUARE_DECAY)
                size = (square.sqrt() / root).add_(EPSILON)
                one.addcdiv_(mean, size, value=-rate / (1 - DECAY**self._steps))

    def keep(self, rows: Tensor) -> list[Tensor]:
        """Go on with some rows of all parameters.

        Parameters
        ----------
        rows : Tensor of int, shape (N,)
            Index along the first axis.

        Returns
        -------
        list of Tensor
            The parameters, in the order of the groups.
        """
        self._moments = [
            (one.detach()[rows].requires_grad_(), mean[rows], square[rows], rate)
            for one, mean, square, rate in self._moments
        ]
        return [one for one, *_ in self._moments]
