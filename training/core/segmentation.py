"""The trainer of segmentation networks: losses of their decoders, and a second pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models.networks.inference import as_prior
from ..losses.segmentation import (
    border_loss,
    distance_loss,
    inside_loss,
    segmentation_loss,
    side_loss,
    volume_loss,
)
from .recipe import Recipe
from .trainer import Trainer

LOSSES = ("structure", "tissue", "hierarchical", "distance", "border", "inside", "volume", "side")
"""Losses of a segmentation network."""

DISTANCE_SCALE = 10
"""Distance (mm) for an output of 1 of the decoder ``mask``."""


class SegmentationTrainer(Trainer):
    """Base class of trainers of networks with decoders ``structure``, ``tissue`` and ``mask``.

    Parameters
    ----------
    recipe, data, folder, validation, device
        See :class:`brainseg.training.core.trainer.Trainer`.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Path,
        folder: Path,
        validation: Path | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(recipe, data, folder, validation, device)
        self.tissue_of = torch.from_numpy(self.table.tissue_of).long().to(device)
        weights = [recipe.class_weights.get(i, 1.0) for i in self.table.unsided]
        self.class_weights = torch.tensor(weights, device=device)

    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the recipe by name.

        Parameters
        ----------
        out : dict of str to tuple of Tensor
            Output of every decoder at full and half resolution.
        targets : dict of str to Tensor
            ``structure``, ``tissue``, ``side`` (classes) and ``distance`` (mm), shape (B, X, Y, Z), as far as
            the losses need them.
        """
        found = {}
        for name, weight in self.recipe.losses.items():
            if name in ("structure", "tissue"):
                found[name] = weight * self._decoder_loss(name, weight, out[name], targets)
            elif name == "hierarchical":
                continue  # computed with the loss of the structures, which shares the softmax
            elif name == "distance":
                found[name] = weight * distance_loss(
                    out["mask"][0][:, 0] * DISTANCE_SCALE, targets["distance"]
                )
            elif name == "border":
                found[name] = weight * border_loss(out["mask"][0][:, 0] * DISTANCE_SCALE, targets["distance"])
            elif name == "inside":
                found[name] = weight * inside_loss(out["mask"][0][:, 0] * DISTANCE_SCALE, targets["distance"])
            elif name == "volume":
                found[name] = weight * volume_loss(out["mask"][0][:, 0] * DISTANCE_SCALE, targets["distance"])
            elif name == "side":
                found[name] = weight * side_loss(out["mask"][0][:, 1], targets["side"])
            else:
                raise ValueError(f"recipe {self.recipe.name}: unknown loss {name!r}")
        return found

    def _decoder_loss(
        self, name: str, weight: float, logits: tuple[Tensor, Tensor], targets: dict[str, Tensor]
    ) -> Tensor:
        """Return the loss of a decoder at full and half resolution, hierarchical loss included."""
        full, low = logits
        target = targets[name]
        class_weights = self.class_weights if name == "structure" else None
        hierarchy = None
        if name == "structure" and "hierarchical" in self.recipe.losses:
            hierarchy = (targets["tissue"], self.tissue_of, self.recipe.losses["hierarchical"] / weight)
        small = target[:, ::2, ::2, ::2].contiguous()
        edge_weight = self.recipe.edge_weight if name == "structure" else 1.0
        return segmentation_loss(
            full, target, class_weights, hierarchy, edge_weight
        ) + 0.3 * segmentation_loss(low, small, class_weights)

    def prior(self, x: Tensor, prior: Tensor | None, *, training: bool = False) -> Tensor | None:
        """Return the prior of the last pass: the output of the first pass if the recipe has a second pass.

        In training this holds for the recipe's share of the examples, otherwise for all of them.
        """
        share = self.recipe.second_pass
        if share and (not training or float(torch.rand(())) < share):
            return self.first_pass(x, prior)
        return prior

    @torch.no_grad()
    def first_pass(self, x: Tensor, prior: Tensor | None) -> Tensor:
        """Return the structure posteriors of a pass with ``prior``, as the prior of the next pass."""
        return as_prior(self.network(x, prior)["structure"][0].float().softmax(1))

    def card(self) -> dict[str, Any]:
        """Return the content of the model card, with the number of passes."""
        return super().card() | ({"looks": 2} if self.recipe.second_pass else {})
