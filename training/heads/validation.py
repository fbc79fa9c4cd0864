"""Scores during training on synthetic heads of held-out maps and on real scans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ..core.example import Example, ExampleSource
from ..core.trainer import Trainer
from ..evaluation.metrics import dice_by_class

NOT_SCORED = 255
"""Value of voxels of prepared scans that are not scored."""


def synthetic_scores(run: Trainer, source: ExampleSource, heads: int) -> dict[str, float]:
    """Return Dice by structure (FreeSurfer id without side), of the ``mask``, and the structures' ``mean``.

    ``mask/volume error`` is the mean error of the mask's volume, relative to the true one.

    Parameters
    ----------
    run : Trainer
        State of the run.
    source : ExampleSource
        Source of the synthetic heads.
    heads : int
        Number of heads.
    """
    scores: dict[str, list[float]] = {}
    for number in range(heads):
        example = source.examples(number)[0]
        out = run.forward(example)
        if "structure" in out:
            found = dice_by_class(out["structure"][0].argmax(1), example.targets["structure"])
            for k, v in found.items():
                scores.setdefault(str(run.table.unsided[k]), []).append(v)
        if "distance" in run.recipe.losses:
            inside = out["mask"][0][:, 0] > 0
            truth = example.targets["distance"] > 0
            overlap = 2 * (inside & truth).sum() / (inside.sum() + truth.sum())
            scores.setdefault("mask", []).append(float(overlap))
            error = float(inside.sum() / truth.sum()) - 1
            scores.setdefault("mask/volume error", []).append(abs(error))
    return _means(scores)


def _means(scores: dict[str, list[float]]) -> dict[str, float]:
    mean = {k: sum(v) / len(v) for k, v in scores.items()}
    structures = [v for k, v in mean.items() if not k.startswith("mask")]
    if structures:
        mean["mean"] = sum(structures) / len(structures)
    return mean


class Scans:
    """Real scans with labels, prepared by :mod:`brainseg.training.heads.scan_preparation`.

    Parameters
    ----------
    path : Path
        Prepared arrays (npz).
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.arrays = {k: arrays[k] for k in arrays if k != "meta"}
            self.names = json.loads(str(arrays["meta"]))["names"]

    def __len__(self) -> int:
        return len(self.names)

    def scores(self, run: Trainer) -> dict[str, float]:
        """Return Dice by structure and the ``mean`` of the network alone at its own voxel size."""
        scores: dict[str, list[float]] = {}
        for k in range(len(self)):
            x, prior, truth = (
                torch.from_numpy(self.arrays[f"{name}{k}"]) for name in ("x", "prior", "truth")
            )
            example = Example(x.float().to(run.device), prior.float().to(run.device), {})
            found = run.forward(example)["structure"][0].argmax(1).cpu()
            counts = truth != NOT_SCORED
            for structure, value in dice_by_class(found[counts], truth[counts]).items():
                scores.setdefault(str(run.table.unsided[structure]), []).append(value)
        return _means(scores)
