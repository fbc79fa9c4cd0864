"""The endless stream of examples that a training run reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import IterableDataset

from ..heads.examples import Cascade, Example, WholeHead


class Stream(IterableDataset):
    """Examples, head after head, each head from its own seed.

    A seed for every head, instead of one random state for the run, makes a resumed run see exactly what the
    interrupted one would have seen, however many examples were drawn ahead.

    Parameters
    ----------
    source : callable
        Gives the examples' source; it is asked before every head, for the stage may have changed.
    seed : int
        Of the run.
    batch : int
        Examples in a step.
    first : int
        Steps that were made before.
    """

    def __init__(
        self,
        source: Callable[[], WholeHead | Cascade],
        *,
        seed: int,
        batch: int = 1,
        first: int = 0,
    ) -> None:
        self.source, self.seed, self.batch, self.first = source, seed, batch, first

    def __len__(self) -> int:
        """Without a length Lightning would draw one example ahead, from a stage that may have ended."""
        return 10**9

    def __iter__(self) -> Iterator[Example]:
        head, skip = divmod(self.first * self.batch, getattr(self.source(), "repeat", 1))
        waiting: list[Example] = []
        while True:
            torch.manual_seed(self.seed * 1_000_003 + head)
            waiting += self.source().examples()[skip:]
            head, skip = head + 1, 0
            while len(waiting) >= self.batch:
                yield joined(waiting[: self.batch])
                del waiting[: self.batch]


def joined(examples: list[Example]) -> Example:
    """One example with all the others along its batch axis."""
    if len(examples) == 1:
        return examples[0]
    first = examples[0]
    return Example(
        torch.cat([e.x for e in examples]),
        None if first.prior is None else torch.cat([e.prior for e in examples]),
        {k: torch.cat([e.targets[k] for e in examples]) for k in first.targets},
    )
