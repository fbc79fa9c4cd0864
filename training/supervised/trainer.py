"""The trainer of networks on images with labels."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ...models.errors import UsageError
from ...models.networks import aggregation
from ...models.population import labels
from ...models.segmentation.own.inputs import specification
from ...models.segmentation.own.tissues import SEEN
from ..core.recipe import Recipe
from ..core.trainer import Trainer
from ..evaluation.metrics import dice_by_class
from ..evaluation.overlay import overlay
from ..losses.named import LOSSES
from .ranges import NAMES, Ranges
from .samplers import Sampler, load, tissues_seen

KIND = "supervised"
"""Kind of recipes of this trainer."""

AUGMENTATION = "brainseg.training.supervised.augmentation"
"""Resolved only when a recipe changes images, for MONAI need not be installed."""

FLIP = Ranges.flip
"""Probability of a mirror image where a recipe does not say it."""

LOW = 0.3
"""Weight of the losses at half resolution, of networks that have such logits."""


class SupervisedTrainer(Trainer):
    """Trains on prepared images with labels.

    Parameters
    ----------
    recipe, data, folder, validation, device
        See :class:`brainseg.training.core.trainer.Trainer`; the recipe is one of
        :func:`brainseg.training.supervised.recipe.completed`.
    """

    scored: ClassVar[str] = "cases that did not train, Dice by label at the network's voxel size"

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
    ) -> None:
        self.own_table = labels.own(recipe.table)
        self.spec = specification({"inputs": recipe.inputs})
        self.cases = load(data, self.own_table)
        self.held_out = load(validation, self.own_table) if validation else []
        self.drawn: dict[str, np.ndarray] = {}
        super().__init__(recipe, data, folder, validation, device)
        weights = [recipe.class_weights.get(label.index, 1.0) for label in self.own_table]
        self.class_weights = torch.tensor(weights, device=device) if recipe.class_weights else None

    def samples(self, stage: dict[str, Any], data: Path) -> Sampler:
        """Return the source of a stage's examples."""
        ranges = dict(self.recipe.generator)
        flip = float(ranges.pop("flip", FLIP))
        change = None
        if any(ranges.values()):
            module = _augmentation()
            images = len(self.spec["contrasts"])
            own = dict.fromkeys(NAMES, 0.0) | ranges
            change = module.Augmentation(Ranges(**own), images)
        return Sampler(
            self.cases,
            self.own_table,
            self.spec,
            stage["shape"],
            flip=flip,
            change=change,
            repeat=self.recipe.repeat,
            device=self.device,
        )

    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the recipe by name."""
        full, low = out["structure"]
        target = targets["structure"]
        found = {}
        for name, weight in self.recipe.losses.items():
            value = LOSSES[name](full.float(), target, self.class_weights)
            if low is not None and low.shape != full.shape:
                small = target[:, ::2, ::2, ::2].contiguous()
                value = value + LOW * LOSSES[name](low.float(), small, self.class_weights)
            found[name] = weight * value
        return found

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return the mean Dice over the cases by label and the ``mean`` of the labels."""
        if not self.held_out:
            return {}
        scores: dict[str, list[float]] = {}
        with self.averaged():
            for number, case in enumerate(self.held_out):
                found = aggregation.probabilities(
                    self.network,
                    case.x,
                    case.prior,
                    self.device,
                    sampler=self.spec["sampler"],
                    shape=self.recipe.stages[-1]["shape"],
                    axes=self.spec["axes"],
                ).argmax(0)
                for k, value in dice_by_class(found, case.truth).items():
                    scores.setdefault(self.own_table.labels[k].name, []).append(value)
                if number == 0:
                    self.drawn = {"validation": overlay(case.x[0], found, case.truth)}
        mean = {name: sum(values) / len(values) for name, values in scores.items()}
        return mean | {"mean": sum(mean.values()) / max(len(mean), 1)}

    def pictures(self) -> dict[str, np.ndarray]:
        """Return the prediction of the first validation case over its image."""
        return self.drawn

    def card(self) -> dict[str, Any]:
        """Return the content of the model card, with the label table and what the network sees."""
        table = Path(self.recipe.table).stem
        seen = tissues_seen(self.data)
        own = {
            "label_table": table,
            "labels": labels.as_rows(self.own_table),
            "use": self.recipe.inputs.get("use", "labels"),
            "flip": float(self.recipe.generator.get("flip", FLIP)),
            "inputs": {k: v for k, v in self.spec.items() if k != "use"},
        }
        return super().card() | own | ({SEEN: seen} if seen else {})


def _augmentation() -> Any:
    try:
        return resolve_name(AUGMENTATION)
    except ImportError as error:
        raise UsageError(
            None,
            f"the recipe changes images at random, which needs MONAI ({error})",
            "pip install 'brainseg-bids[train]', or set generator={flip: 0.5}",
        ) from None
