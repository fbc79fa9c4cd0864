"""Examples of prepared images with labels: whole volumes, patches around labels, or slices."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import UsageError
from ...models.population.labels import LabelTable
from ...models.segmentation.own.tissues import SEEN
from ..core.example import Example

JITTER = 8
"""Largest shift (voxels) of a volume or slice in its box."""

EMPTY = 0.02
"""Weight of a slice without labels, relative to the mean slice."""


@dataclass(frozen=True)
class Arrays:
    """One prepared case.

    Attributes
    ----------
    x : Tensor, shape (C, X, Y, Z)
        Input.
    truth : Tensor of uint8, shape (X, Y, Z)
        Positions in the label table.
    prior : Tensor, shape (P, X/2, Y/2, Z/2), or None
        Posteriors of the coarse network.
    """

    x: Tensor
    truth: Tensor
    prior: Tensor | None


def load(path: Path, table: LabelTable) -> list[Arrays]:
    """Return the cases of prepared arrays.

    Raises
    ------
    UsageError
        If they are of another kind, or of another label table.
    """
    with np.load(path) as arrays:
        meta = json.loads(str(arrays["meta"]))
        if meta.get("labels") != [label.index for label in table]:
            reason = "the arrays were prepared for other labels than those of the recipe's table"
            raise UsageError(path, reason, "Prepare them again: give --maps and --table, and another --out")
        return [
            Arrays(
                torch.from_numpy(arrays[f"x{k}"]).float(),
                torch.from_numpy(arrays[f"truth{k}"]),
                torch.from_numpy(arrays[f"prior{k}"]).float() if f"prior{k}" in arrays else None,
            )
            for k in range(len(meta["names"]))
        ]


def tissues_seen(path: Path) -> str:
    """Return the checksum of the weights whose tissues are in prepared arrays; empty without, or unknown."""
    with np.load(path) as arrays:
        return str(json.loads(str(arrays["meta"])).get(SEEN) or "")


class Sampler:
    """Source of examples.

    Parameters
    ----------
    cases : sequence of Arrays
        The cases.
    table : LabelTable
        Labels, for the sides that change places in mirror images.
    spec : mapping
        ``sampler``, ``axes``, ``frame`` and ``weights`` (of labels, by index) of the recipe's inputs.
    shape : sequence of int
        Shape of an example; of slices two sides.
    flip : float
        Probability of a mirror image.
    change : callable, optional
        Changes images and labels (:class:`brainseg.training.supervised.augmentation.Augmentation`).
    repeat : int
        Examples of a draw, all of one case.
    device : str
        Device of the examples.
    """

    def __init__(
        self,
        cases: Sequence[Arrays],
        table: LabelTable,
        spec: Mapping[str, Any],
        shape: Sequence[int],
        *,
        flip: float = 0.0,
        change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        repeat: int = 1,
        device: str = "cpu",
    ) -> None:
        self.cases, self.spec, self.repeat, self.device = list(cases), spec, repeat, device
        self.shape, self.flip, self.change = list(shape), flip, change
        indices = [label.index for label in table]
        self.partner = torch.tensor(table.exchanged)
        given = {int(k): float(v) for k, v in (spec.get("weights") or {}).items()}
        self._sided = True
        self.weights = torch.tensor([given.get(index, 1.0) for index in indices])

    def examples(self, number: int | None = None) -> list[Example]:
        """Return examples of a random case, or of case ``number``."""
        k = int(torch.randint(len(self.cases), ())) if number is None else number % len(self.cases)
        return [self._example(self.cases[k]) for _ in range(self.repeat)]

    def _example(self, case: Arrays) -> Example:
        x, truth, prior = self._part(case)
        truth = truth.long()
        if self.change is not None:
            x, truth = self.change(x, truth)
        if float(torch.rand(())) < self.flip:
            x, truth, prior = self._mirrored(x, truth, prior)
        near = None if prior is None else prior[None].to(self.device)
        return Example(x[None].to(self.device), near, {"structure": truth[None].to(self.device)})

    def _part(self, case: Arrays) -> tuple[Tensor, Tensor, Tensor | None]:
        sampler = self.spec["sampler"]
        if sampler == "slices":
            return self._slice(case)
        sizes = torch.tensor(case.truth.shape)
        shape = torch.tensor(self.shape)
        if sampler == "patches":
            middle = self._center(case.truth) + torch.randint(-2, 3, (3,))
        else:
            room = (shape - sizes).abs() // 2
            shift = torch.minimum(room, torch.tensor(JITTER))
            middle = sizes // 2 + ((torch.rand(3) * 2 - 1) * (shift + 1)).long()
        start = middle - shape // 2
        inside = (sizes - shape).clamp(min=0)
        start = torch.where(sizes > shape, torch.minimum(start.clamp(min=0), inside), start.clamp(max=0))
        # Even, so that the prior at half resolution moves by whole voxels.
        first = [int(s) // 2 * 2 for s in start]
        x, truth = _box(case.x, first, self.shape), _box(case.truth[None], first, self.shape)[0]
        if case.prior is None:
            return x, truth, None
        half = _box(case.prior, [s // 2 for s in first], [n // 2 for n in self.shape])
        half[0] += (1 - half.sum(0)).clamp(min=0)
        return x, truth, half

    def _center(self, truth: Tensor) -> Tensor:
        """Return a random voxel of a random label; the labels have weights."""
        present = torch.bincount(truth.reshape(-1).long(), minlength=len(self.weights)) > 0
        weights = self.weights * present
        if float(weights.sum()) <= 0:
            weights = present.float()
        label = int(torch.multinomial(weights, 1))
        voxels = (truth == label).reshape(-1).nonzero()[:, 0]
        chosen = int(voxels[int(torch.randint(len(voxels), ()))])
        return torch.tensor(np.unravel_index(chosen, tuple(truth.shape)))

    def _slice(self, case: Arrays) -> tuple[Tensor, Tensor, None]:
        """Return a slice of a random axis; slices with many labeled voxels are more frequent."""
        axes = self.spec["axes"]
        axis = int(axes[int(torch.randint(len(axes), ()))])
        self._sided = axis != 0  # else no axis of the slice is left-right
        x, truth = case.x.movedim(1 + axis, -1), case.truth.movedim(axis, -1)
        area = (truth > 0).flatten(0, 1).sum(0).float()
        chosen = int(torch.multinomial(area + EMPTY * area.mean().clamp(min=1), 1))
        x, truth = x[..., chosen : chosen + 1], truth[..., chosen : chosen + 1]
        start = []
        for n, side in zip(truth.shape[:2], self.shape, strict=False):
            room = min(abs(n - side) // 2, JITTER)
            start.append((n - side) // 2 + int(torch.randint(-room, room + 1, ())))
        sides = [*self.shape[:2], 1]
        return _box(x, [*start, 0], sides), _box(truth[None], [*start, 0], sides)[0], None

    def _mirrored(
        self, x: Tensor, truth: Tensor, prior: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the mirror image, left to right; left and right labels change places.

        A slice across this axis stays as it is: its mirror image is one of the other side.
        """
        if not self._sided:
            return x, truth, prior
        x, truth = x.flip(1), self.partner[truth.flip(0)]
        if self.spec["frame"] == "cascade":
            x = torch.cat([x[:1], -x[1:2], x[2:]])
        return x, truth, None if prior is None else prior.flip(1)


def _box(data: Tensor, start: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return a box of the last three axes, zero outside of the data."""
    pad: list[int] = []
    for first, want, have in reversed(list(zip(start, shape, data.shape[-3:], strict=True))):
        pad += [-first, first + want - have]
    return F.pad(data, pad)
