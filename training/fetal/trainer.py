"""The trainer of the fetal networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch

from ..core.recipe import Recipe
from ..core.segmentation import SegmentationTrainer
from ..evaluation.metrics import dice_by_class
from .examples import AnyPosition, Upright
from .generator import FetalConfig, FetalGenerator

KINDS: dict[str, type[AnyPosition] | type[Upright]] = {"any-position": AnyPosition, "upright": Upright}
"""Kinds of recipes of this trainer, and their examples."""


def samples(recipe: Recipe, stage: dict[str, Any], data: Path, device: str = "cpu") -> AnyPosition | Upright:
    """Return the source of a stage's examples.

    Parameters
    ----------
    recipe : Recipe
        Recipe of a fetal network.
    stage : dict of str to Any
        Stage of the recipe.
    data : Path
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    device : str
        Device of the examples.
    """
    kind = KINDS[recipe.kind]
    every = 2 if kind is AnyPosition else 1
    generator = FetalGenerator(data, recipe.ranges(FetalConfig(), stage), every, device, recipe.table)
    return kind(generator, stage["shape"], stage["spacing"])


class FetalTrainer(SegmentationTrainer):
    """Trains on arrays from :func:`brainseg.training.fetal.prepare.prepare`."""

    scored: ClassVar[str] = "held-out subjects, real images"

    def samples(self, stage: dict[str, Any], data: Path) -> AnyPosition | Upright:
        """Return the source of a stage's examples from prepared arrays."""
        return samples(self.recipe, stage, data, self.device)

    @torch.no_grad()
    def validate(self, heads: int = 4) -> dict[str, float]:
        """Return Dice by structure (FreeSurfer id), of the ``mask``, and the structures' ``mean``.

        Parameters
        ----------
        heads : int
            Minimum number of real images that are scored, where there are as many.
        """
        if self.validation is None:
            return {}
        scores: dict[str, list[float]] = {}
        with self.averaged():
            stage = self.recipe.stages[-1] | {"real": 1.0, "surroundings": 0.5, "deformation": 0.0}
            source = self.samples(stage, self.validation)
            count = len(source.generator.cases)
            for number in range(0, count, max(1, count // heads)):
                example = source.example(number)
                out = self.forward(example)
                found = dice_by_class(out["structure"][0].argmax(1), example.targets["structure"])
                for k, v in found.items():
                    scores.setdefault(str(self.table.unsided[k]), []).append(v)
                if "mask" in out:
                    truth = example.targets["distance"][0] > 0
                    mask = out["mask"][0][0, 0] > 0
                    overlap = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
                    scores.setdefault("mask", []).append(float(overlap))
        mean = {k: sum(v) / len(v) for k, v in scores.items()}
        structures = [v for k, v in mean.items() if k.isdigit()]
        return mean | {"mean": sum(structures) / len(structures)}

    def card(self) -> dict[str, Any]:
        """Return the content of the model card, with what the inference needs to know."""
        weights = {str(index): weight for index, weight in self.recipe.class_weights.items()}
        return super().card() | {"class_weights": weights}
