"""The trainer of the registration network, which predicts velocities."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...models.deformation.velocity import exponential, identity, jacobian, taper
from ...models.geometry.axes import triple
from ...models.geometry.trilinear import sample
from ..core.example import ExampleSource
from ..core.recipe import Recipe
from ..core.trainer import Trainer
from ..losses import registration
from ..synthesis.config import GeneratorConfig
from ..synthesis.generator import HeadGenerator
from .pairs import BrainPairs
from .unlabeled import ScanPairs

KINDS = ("registration",)
"""Kinds of recipes of this trainer."""

MARGIN = 2
"""Voxels at the edge of the grid over which a velocity decreases to zero."""

SQUARINGS = 4
"""Squarings of the integration of half a velocity."""


class VelocityTrainer(Trainer):
    """Trains on pairs of synthetic brains; losses are in :mod:`brainseg.training.losses.registration`.

    Parameters
    ----------
    recipe, data, folder, validation, device
        See :class:`brainseg.training.core.trainer.Trainer`.
    unlabeled : Path, optional
        Real scans, from :func:`brainseg.training.registration.unlabeled.prepare`.
    """

    scored: ClassVar[str] = "held-out label maps, synthetic images"

    rounds = 2
    """Number of draws of a validation."""

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
        unlabeled: Path | None = None,
    ) -> None:
        self.unlabeled = unlabeled
        super().__init__(recipe, data, folder, validation, device)

    def training_samples(self, stage: dict[str, Any]) -> ExampleSource:
        """Return the source of a stage's training examples: synthetic pairs, and real ones as their share."""
        synthetic = self.samples(stage, self.data)
        if self.recipe.real and self.unlabeled is not None and isinstance(synthetic, BrainPairs):
            return ScanPairs(synthetic, self.unlabeled, self.recipe.real)
        return synthetic

    def samples(self, stage: dict[str, Any], data: Path) -> ExampleSource:
        """Return the source of a stage's examples from prepared arrays."""
        generator = HeadGenerator(data, self.recipe.ranges(GeneratorConfig(), stage), self.device)
        own = {k: stage[k] for k in ("heads", "error", "pictures") if k in stage}
        return BrainPairs(generator, stage["shape"], stage["spacing"], **own)

    def losses(self, out: dict[str, Tensor], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the recipe by name, averaged over the batch."""
        found = [
            self._losses(velocity, *both)
            for velocity, *both in zip(
                out["velocity"].float(), targets["moving"], targets["fixed"], targets["images"], strict=True
            )
        ]
        return {k: torch.stack([one[k] for one in found]).mean() for k in found[0]}

    def _losses(self, velocity: Tensor, moving: Tensor, fixed: Tensor, images: Tensor) -> dict[str, Tensor]:
        velocity, flow, (there, here) = halves(velocity)
        labels = sample(moving, there), sample(fixed, here)
        a, b = images.chunk(2)
        wanted = self.recipe.losses
        pictures = (a, b)
        if set(wanted) & (set(registration.ALIKE) - set(registration.OF_LABELS)):
            pictures = sample(a, there), sample(b, here)
        return registration.all_of(wanted, labels, pictures, velocity, flow)

    @torch.no_grad()
    def validate(self, heads: int = 0) -> dict[str, float]:
        """Return soft Dice after (``mean``, nearly binary ``hard``) and ``before`` the warp, and ``folds``.

        ``folds`` is the share of voxels with a non-positive Jacobian determinant.
        """
        if self.validation is None:
            return {}
        with self.averaged():
            source = self.held_out(self.validation)
            scores = []
            for number in range(heads or self.rounds):
                for example in source.examples(number):
                    velocity = self.forward(example)["velocity"][0].float()
                    _, flow, (there, here) = halves(velocity)
                    moving, fixed = example.targets["moving"][0], example.targets["fixed"][0]
                    both = sample(moving, there), sample(fixed, here)
                    lost = (
                        registration.dice(*both),
                        registration.hard(*both),
                        registration.dice(moving, fixed),
                    )
                    scores.append((*(1 - loss for loss in lost), (jacobian(flow) <= 0).float().mean()))
        return {
            k: float(torch.stack(v).mean())
            for k, v in zip(("mean", "hard", "before", "folds"), zip(*scores, strict=True), strict=True)
        }

    def held_out(self, validation: Path) -> ExampleSource:
        """Return the source of the validation examples."""
        return self.samples(self.recipe.stages[-1] | {"mirror": 0.0, "heads": 2}, validation)


def halves(velocity: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return a velocity that is zero at the edge, its displacement, and where both images are sampled.

    Parameters
    ----------
    velocity : Tensor, shape (3, X, Y, Z)
        Velocity (voxels).
    """
    shape = triple(velocity.shape[1:])
    velocity = velocity * taper(shape, MARGIN).to(velocity.device)
    index = identity(shape, velocity)
    there, here = (index + exponential(v, SQUARINGS, index) for v in (-velocity / 2, velocity / 2))
    return velocity, exponential(velocity, SQUARINGS + 1, index), (there, here)
