"""The endless stream of training examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import IterableDataset

from .example import Example, ExampleSource, batched


class Stream(IterableDataset):
    """Batches of examples without end; every draw has its own random seed.

    A seed per draw, instead of one random state per run, makes a resumed run see exactly what the interrupted
    run would have seen, however many examples were drawn ahead.

    Parameters
    ----------
    source : callable
        Returns the source of the examples; called before every draw, since the training stage can change.
    seed : int
        Random seed of the run.
    batch : int
        Examples per training step.
    first : int
        Number of training steps already completed.
    """

    def __init__(
        self,
        source: Callable[[], ExampleSource],
        *,
        seed: int,
        batch: int = 1,
        first: int = 0,
    ) -> None:
        self.source, self.seed, self.batch, self.first = source, seed, batch, first

    def __len__(self) -> int:
        """Return a large number: without a length Lightning draws one example ahead, of an old stage."""
        return 10**9

    def __iter__(self) -> Iterator[Example]:
        """Yield one batch per training step."""
        draw, skip = divmod(self.first * self.batch, getattr(self.source(), "repeat", 1))
        waiting: list[Example] = []
        while True:
            torch.manual_seed(self.seed * 1_000_003 + draw)
            waiting += self.source().examples()[skip:]
            draw, skip = draw + 1, 0
            while len(waiting) >= self.batch:
                yield batched(waiting[: self.batch])
                del waiting[: self.batch]
