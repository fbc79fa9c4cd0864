"""Real scans with labels among the synthetic examples, such as pseudo-labels (WarpSeg)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import InputError
from ...models.population import labels
from ..core.example import Example
from ..synthesis.deformation import noise_field, uniform
from .examples import Cascade
from .validation import NOT_SCORED


class Mixed:
    """Examples of a cascade, of which a share is of real scans.

    Parameters
    ----------
    synthetic : Cascade
        Source of the synthetic examples; defines the grid.
    path : Path
        Real scans, from :func:`brainseg.training.heads.scan_preparation.prepare_scans`.
    share : float
        Share of the draws that are real.

    Raises
    ------
    InputError
        If the scans were prepared for another voxel size, or some voxels have no label.
    """

    def __init__(self, synthetic: Cascade, path: Path, share: float) -> None:
        self.synthetic, self.share, self.repeat = synthetic, share, synthetic.repeat
        self.shape, self.generator = synthetic.shape, synthetic.generator
        table = labels.load(synthetic.targets.table_name)
        self.tissue_of = torch.from_numpy(table.tissue_of).long()
        with np.load(path) as arrays:
            meta = json.loads(str(arrays["meta"]))
            self.cases = [
                tuple(torch.from_numpy(arrays[f"{name}{k}"]) for name in ("x", "prior", "truth"))
                for k in range(len(meta["names"]))
            ]
            self.tissues = [
                torch.from_numpy(arrays[f"tissue{k}"]) if f"tissue{k}" in arrays else None
                for k in range(len(meta["names"]))
            ]
        if meta.get("spacing", synthetic.spacing) != synthetic.spacing:
            raise InputError(
                path,
                f"the voxel size is {meta['spacing']} mm, that of the recipe {synthetic.spacing} mm",
                "Prepare the scans with brainseg train scans and this recipe",
            )
        if any(bool((truth == NOT_SCORED).any()) for _, _, truth in self.cases):
            raise InputError(path, "some voxels have no label", "Give labels of the recipe's label table")

    def examples(self, number: int | None = None) -> list[Example]:
        """Return the examples of a random head, real or synthetic, or of the synthetic head ``number``."""
        if number is not None or uniform(0, 1) >= self.share:
            return self.synthetic.examples(number)
        k = int(torch.randint(len(self.cases), ()))
        x, prior, truth = self.cases[k]
        return [self._example(x, prior, truth, self.tissues[k]) for _ in range(self.repeat)]

    def _example(self, x: Tensor, prior: Tensor, truth: Tensor, tissue: Tensor | None) -> Example:
        """Return a part of a scan on the grid of the cascade, with random intensity changes.

        The coarse truth is ``tissue``, those of the scan's own intensities; without it that of the labels.
        """
        # Even numbers, so that the prior at half resolution moves by whole voxels.
        start = [
            2 * round((have - want) / 4 + uniform(-1, 1) * 2)
            for have, want in zip(truth.shape[1:], self.shape, strict=True)
        ]
        x, truth = fitted(x.float(), start, self.shape), fitted(truth, start, self.shape).long()
        coarse = self.tissue_of[truth] if tissue is None else fitted(tissue, start, self.shape).long()
        prior = fitted(prior.float(), [s // 2 for s in start], [n // 2 for n in self.shape])
        prior[:, 0] += (1 - prior.sum(1)).clamp(min=0)
        image = self._changed(x[0, 0])
        x = torch.cat([image[None, None], x[:, 1:]], 1)
        if uniform(0, 1) < 0.5:
            x, prior, truth, coarse = x.flip(2), prior.flip(2), truth.flip(1), coarse.flip(1)
            # Coordinates of a mirrored head.
            x[:, 1] = -x[:, 1]
        device = self.generator.device
        targets = {"structure": truth, "tissue": coarse}
        return Example(x.to(device), prior.to(device), {k: v.to(device) for k, v in targets.items()})

    @staticmethod
    def _changed(image: Tensor) -> Tensor:
        field = F.interpolate(noise_field(1, 4, torch.device("cpu")), size=image.shape, mode="trilinear")
        image = image * torch.exp(field[0, 0] * uniform(0, 0.3))
        image = image + torch.randn_like(image) * uniform(0, 0.03) * (image > 0)
        image = image.clamp(min=0)
        return (image / image.max().clamp(min=1e-6)).clamp(0, 1) ** uniform(0.75, 1.35)


def fitted(data: Tensor, start: list[int], shape: list[int] | tuple[int, ...]) -> Tensor:
    """Return a box of ``shape`` at ``start`` in the last three axes, zero outside of the data.

    Examples
    --------
    >>> fitted(torch.ones(1, 3, 1, 1), [-1, 0, 0], [3, 1, 1]).flatten().tolist()
    [0.0, 1.0, 1.0]
    """
    pad: list[int] = []
    for first, want, have in reversed(list(zip(start, shape, data.shape[-3:], strict=True))):
        pad += [-first, first + want - have]
    return F.pad(data, pad)
