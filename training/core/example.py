"""Training examples and what draws them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass
class Example:
    """One training example; tensors have a batch axis.

    Attributes
    ----------
    x : Tensor, shape (B, inputs, X, Y, Z)
        Input of the network.
    prior : Tensor or None
        Second input of the network, such as posteriors of a coarser network at half resolution.
    targets : dict of str to Tensor
        What the losses compare the network's output with, by name.
    """

    x: Tensor
    prior: Tensor | None
    targets: dict[str, Tensor]


class ExampleSource(Protocol):
    """Draws examples; may have an attribute ``repeat``, the number of examples in a draw (default 1)."""

    def examples(self, number: int | None = None) -> list[Example]:
        """Return the examples of one draw: of case ``number`` where it is given, else of a random case."""
        ...


def batched(examples: list[Example]) -> Example:
    """Return one example whose batch axis holds all of ``examples``, which have the same keys and shapes."""
    if len(examples) == 1:
        return examples[0]
    first = examples[0]
    return Example(
        torch.cat([e.x for e in examples]),
        None if first.prior is None else torch.cat([e.prior for e in examples if e.prior is not None]),
        {k: torch.cat([e.targets[k] for e in examples]) for k in first.targets},
    )
