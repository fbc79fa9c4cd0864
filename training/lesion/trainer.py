"""The trainer of the lesion networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.segmentation import lesion
from ..core.recipe import Recipe
from ..core.trainer import Trainer
from ..losses.segmentation import binary_loss, slice_dice_loss
from ..synthesis.config import GeneratorConfig
from ..synthesis.generator import HeadGenerator
from .examples import DARK, LesionSlices, load

KIND = "lesion"
"""Kind of recipes of this trainer."""

CHANGES = ("rotation", "scaling", "mirror")
"""Keys of ``generator`` that hold for real slices too, where a recipe has them."""

LOSSES = {"lesion": binary_loss, "slice-dice": slice_dice_loss}
"""Losses of a lesion network, of logits against masks."""


class LesionTrainer(Trainer):
    """Trains on prepared scans with lesions, on synthetic heads, or on both.

    Parameters
    ----------
    recipe, folder, validation, device
        See :class:`brainseg.training.core.trainer.Trainer`.
    data : Path or None
        Arrays from :func:`brainseg.training.lesion.prepare.prepare`.
    heads : Path or None
        Arrays from :func:`brainseg.training.data.prepare.prepare`, for synthetic heads.
    """

    scored: ClassVar[str] = "patients that did not train, Dice of the volume"

    def __init__(
        self,
        recipe: Recipe,
        data: Path | None,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
        heads: Path | None = None,
    ) -> None:
        self.heads = heads
        self.cases = load(data) if data else []
        self.held_out = load(validation) if validation else []
        super().__init__(recipe, data or Path(), folder, validation, device)

    def samples(self, stage: dict[str, Any], data: Path) -> LesionSlices:
        """Return the source of a stage's examples."""
        generator = None
        if self.heads:
            ranges = self.recipe.ranges(GeneratorConfig(), stage)
            generator = HeadGenerator(self.heads, ranges, self.device)
        return LesionSlices(
            self.cases,
            generator,
            stage["shape"],
            stage["spacing"],
            self.recipe.repeat,
            stage.get("real", 0.6),
            **{name: float(self.recipe.generator[name]) for name in CHANGES if name in self.recipe.generator},
        )

    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the recipe by name."""
        logit, truth = out["lesion"][0].float(), targets["lesion"]
        return {name: weight * LOSSES[name](logit, truth) for name, weight in self.recipe.losses.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return Dice of the whole volume by patient (1 if there rightly is nothing), and the ``mean``."""
        if not self.held_out:
            return {}
        with self.averaged():
            scores = {}
            stride = cast(int, self.network.stride)
            for number, case in enumerate(self.held_out):
                data = torch.where(case.outside <= lesion.AROUND, case.image, DARK)
                step = lesion.REACH / case.step
                x = torch.stack([data, lesion.shifted(data, -step), lesion.shifted(data, step)])
                pads = [(-n) % stride for n in data.shape[:2]]
                x = F.pad(x, (0, 0, 0, pads[1], 0, pads[0]), value=DARK)
                found = self.network(x[None].to(self.device))["lesion"][0][0, 0].cpu()
                found = (found[: data.shape[0], : data.shape[1]] > 0) & (case.outside <= 0)
                both, size = float((found & case.lesion).sum()), float(found.sum() + case.lesion.sum())
                # A patient without lesions who is found to have none is right.
                scores[str(number)] = 2 * both / size if size else 1.0
        return scores | {"mean": sum(scores.values()) / len(scores)}
