"""The trainer of networks of whole heads: synthetic heads, and real scans with labels."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from ...models.errors import UsageError
from ...models.networks import purpose, zoo
from ...models.networks.device import on_device
from ..core.example import ExampleSource
from ..core.recipe import Recipe
from ..core.segmentation import SegmentationTrainer
from ..core.trainer import load_weights
from ..synthesis.config import GeneratorConfig
from ..synthesis.generator import HeadGenerator
from .cavity_examples import Cavity
from .examples import Cascade, WholeHead
from .labeled_scans import Mixed
from .validation import Scans, synthetic_scores

FINER = 2
"""Factor of the finer grid on which whole heads are rendered, where a stage does not say; boxes have none."""

KINDS = ("whole-head", "cascade", "cavity")
"""Kinds of recipes of this trainer."""


def check_coarse(recipe: Recipe) -> None:
    """Refuse a coarse network whose output is not the context that the recipe's network takes.

    Raises
    ------
    UsageError
        If there is no such network, or it is for something else.
    """
    if not recipe.coarse:
        return
    try:
        card = purpose.check(recipe.coarse, "localization")
    except zoo.ModelError as error:
        remedy = "Set coarse to the name of weights or to a .safetensors file"
        raise UsageError(None, f"coarse={recipe.coarse}: {error}", remedy) from None
    count = purpose.outputs(card["architecture"]["class"], card["architecture"]["arguments"])["structure"]
    prior = recipe.architecture.get("prior", 0)
    if recipe.context == "structure" and prior not in (0, count):
        raise UsageError(
            recipe.coarse,
            f"the coarse network has {count} structures, but the recipe {recipe.name} has prior {prior}",
            f"Set prior to {count}, or choose another coarse network",
        )


class HeadTrainer(SegmentationTrainer):
    """Trains on synthetic heads, and for a cascade also on real scans.

    Parameters
    ----------
    recipe, data, folder, validation, device
        See :class:`brainseg.training.core.trainer.Trainer`.
    scans : Path, optional
        Real scans with labels that never train
        (:func:`brainseg.training.heads.scan_preparation.prepare_scans`); logged as ``real/...``.
    labeled : Path, optional
        Real scans with labels that train: the recipe's share ``real`` of the examples.
    """

    scored: ClassVar[str] = "held-out label maps, synthetic images"

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
        scans: Path | None = None,
        labeled: Path | None = None,
    ) -> None:
        self.labeled = labeled
        self.scans = None if scans is None else Scans(scans)
        self.scans_path = scans
        super().__init__(recipe, data, folder, validation, device)
        self.coarse: torch.nn.Module | None = None
        if recipe.coarse:
            check_coarse(recipe)
            self.coarse = on_device(load_weights("coarse", recipe.coarse).network, device)

    def clock(self) -> float:
        """Return the time (s) of the clock of the training time: elapsed time."""
        return time.monotonic()

    def samples(self, stage: dict[str, Any], data: Path) -> WholeHead | Cascade:
        """Return the source of a stage's synthetic examples from prepared label maps."""
        generator = HeadGenerator(data, self.recipe.ranges(GeneratorConfig(), stage), self.device)
        if self.recipe.kind == "whole-head":
            size = tuple(stage["shape"]), stage["spacing"], stage.get("finer", FINER)
            return WholeHead(generator, *size, table=self.recipe.table)
        box = (
            WholeHead(generator, table=self.recipe.table),
            self.coarse,
            stage["shape"],
            stage["spacing"],
            self.recipe.spread,
            self.recipe.context,
            self.recipe.repeat,
            self.recipe.offset,
            stage.get("finer", 1),
        )
        return (Cavity if self.recipe.kind == "cavity" else Cascade)(*box)

    def training_samples(self, stage: dict[str, Any]) -> ExampleSource:
        """Return the source of a stage's training examples, synthetic and real."""
        synthetic = self.samples(stage, self.data)
        if self.recipe.real and self.labeled is not None and isinstance(synthetic, Cascade):
            return Mixed(synthetic, self.labeled, self.recipe.real)
        return synthetic

    @torch.no_grad()
    def validate(self, heads: int = 4) -> dict[str, float]:
        """Return Dice by structure on synthetic heads, and as ``real/...`` on real scans."""
        if self.validation is None and self.scans is None:
            return {}
        with self.averaged():
            scores: dict[str, float] = {}
            if self.validation is not None:
                scores |= synthetic_scores(self, self.samples(self.recipe.stages[-1], self.validation), heads)
            if self.scans is not None:
                scores |= {f"real/{k}": v for k, v in self.scans.scores(self).items()}
        return scores

    def validation_data(self) -> list[Path | None]:
        """Return the files whose data are scored: label maps and real scans."""
        return [self.validation, self.scans_path]

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the scores of the averaged weights on synthetic heads and on real scans."""
        found = self.validate()
        scores = {self.scored: {k: v for k, v in found.items() if not k.startswith("real/")}}
        if self.scans is not None:
            real = {k.removeprefix("real/"): v for k, v in found.items() if k.startswith("real/")}
            scores[f"real scans ({len(self.scans)})"] = real
        return scores

    def centroids(self) -> dict[str, list[float]]:
        """Return the centroids (mm) of the structures in the atlas frame, by ``id:side``."""
        with np.load(self.data) as arrays:
            found = json.loads(str(arrays["meta"]))["centroids"]
        return {k: [round(c, 2) for c in point] for k, point in found.items()}
