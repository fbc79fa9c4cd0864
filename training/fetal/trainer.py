"""The trainer of the fetal networks: other examples, all else as for adults."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ..core.trainer import Trainer
from .examples import AnyPosition, Upright
from .generator import FetalConfig, FetalGenerator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..core.recipe import Recipe

KINDS: dict[str, type[AnyPosition] | type[Upright]] = {"any-position": AnyPosition, "upright": Upright}
"""Kinds of recipes that this trainer knows."""


def samples(recipe: Recipe, stage: dict[str, Any], data: Path, device: str = "cpu") -> AnyPosition | Upright:
    """The examples of a stage of a fetal recipe from prepared arrays."""
    kind = KINDS[recipe.kind]
    changes = recipe.generator | {k: v for k, v in stage.items() if hasattr(FetalConfig, k)}
    generator = FetalGenerator(
        data, replace(FetalConfig(), **changes), 2 if kind is AnyPosition else 1, device, recipe.table
    )
    return kind(generator, stage["shape"], stage["spacing"])


class FetalTrainer(Trainer):
    """Trains from :func:`brainseg.training.fetal.generator.prepare`'s arrays; its budget is processor
    time."""

    def run(self, clock: Callable[[], float] = time.process_time) -> Path:
        """Train until the recipe's minutes of processor time are spent, then export."""
        return super().run(clock)

    def samples(self, stage: dict[str, Any], data: Path) -> AnyPosition | Upright:
        """The examples of a stage."""
        return samples(self.recipe, stage, data, self.device)

    @torch.no_grad()
    def validate(self, heads: int = 4) -> dict[str, float]:
        """Dice by tissue, and of the brain, on real images that never train."""
        from ..evaluation.metrics import dice_by_class

        if self.validation is None:
            return {}
        with self.averaged():
            stage = self.recipe.stages[-1] | {"real": 1.0, "surroundings": 0.5, "deformation": 0.0}
            source = self.samples(stage, self.validation)
            scores: dict[str, list[float]] = {}
            count = len(source.generator.cases)
            for number in range(0, count, max(1, count // heads)):
                example = source.example(number)
                out = self.forward(example)
                found = dice_by_class(out["structure"][0].argmax(1), example.targets["structure"])
                for k, v in found.items():
                    scores.setdefault(str(self.table.unsided[k]), []).append(v)
                if "mask" in out:
                    inside = example.targets["distance"][0] > 0
                    seen = out["mask"][0][0, 0] > 0
                    overlap = 2 * (seen & inside).sum() / (seen.sum() + inside.sum())
                    scores.setdefault("mask", []).append(float(overlap))
        mean = {k: sum(v) / len(v) for k, v in scores.items()}
        tissues = [v for k, v in mean.items() if k.isdigit()]
        return mean | {"mean": sum(tissues) / len(tissues)}

    def export(self) -> Path:
        """Write the averaged weights with their card, which tells the chain what the network sees."""
        path = super().export()
        card = path.with_suffix(".json")
        weights = {str(index): weight for index, weight in self.recipe.class_weights.items()}
        content = json.loads(card.read_text()) | {"kind": self.recipe.kind, "class_weights": weights}
        scores = content["scores"]
        content["scores"] = {"held-out subjects, real images": next(iter(scores.values()))}
        card.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def _centroids(self) -> dict[str, list[float]]:
        return {}
