"""The trainers of the hippocampus networks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.networks.gradient_net import displaced
from ..core.segmentation import SegmentationTrainer
from ..evaluation.metrics import dice_by_class
from ..losses.pairs import pair_losses
from ..registration.trainer import VelocityTrainer
from .generator import CLASSES, CropConfig, CropGenerator, Crops, Pairs
from .pairs import AlignedPairs

KINDS: dict[str, type[Crops] | type[Pairs]] = {"crop": Crops, "pair": Pairs}
"""Kinds of recipes of :class:`HippocampusTrainer`, and their examples."""

VELOCITY_KINDS = ("hippocampus-registration",)
"""Kinds of recipes of :class:`HippocampusVelocityTrainer`."""

ALIASES = {"looks": "scans"}
"""Other accepted names of keys under ``generator``."""

UP = re.compile(r"^decoders\.\w+\.up\.(\d+)\.")
"""Weights of a block of a decoder, numbered from the coarsest block."""


class HippocampusTrainer(SegmentationTrainer):
    """Trains on arrays from :func:`brainseg.training.hippocampus.prepare.prepare`."""

    def samples(self, stage: dict[str, Any], data: Path) -> Crops | Pairs:
        """Return the source of a stage's examples from prepared arrays."""
        generator = CropGenerator(data, self.recipe.ranges(CropConfig(), stage), self.device)
        return KINDS[self.recipe.kind](generator, stage["shape"], stage["spacing"])

    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return every weighted loss of the recipe by name."""
        if self.recipe.kind != "pair":
            return super().losses(out, targets)
        if not self.recipe.ranges(CropConfig(), self.stage()).symmetric:
            out = {"forward": out["forward"]}
        maps = [
            F.one_hot(targets[name], CLASSES)[..., 1:].movedim(-1, 1).float() for name in ("moving", "fixed")
        ]
        return pair_losses(out, targets["images"], (maps[0], maps[1]), self.recipe.losses)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return Dice by part and the ``mean`` on undeformed cases; of pairs after registration."""
        if self.validation is None:
            return {}
        scores: dict[str, list[float]] = {}
        with self.averaged():
            source = self.samples(self.recipe.stages[-1] | {"plain": 1.0}, self.validation)
            for number in range(len(source.generator)):
                example = source.examples(number)[0]
                out, targets = self.forward(example), example.targets
                if self.recipe.kind == "pair":
                    found = displaced(targets["moving"], out["forward"][0][1])
                    truth = targets["fixed"]
                else:
                    found, truth = out["structure"][0].argmax(1), targets["structure"]
                for k, value in dice_by_class(found, truth).items():
                    scores.setdefault(self.table[self.table.unsided[k]].name, []).append(value)
        mean = {k.removeprefix("Left-"): sum(v) / len(v) for k, v in scores.items()}
        return mean | {"mean": sum(mean.values()) / len(mean)}

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the scores of the averaged weights by the description of the validation data."""
        labels = "moved" if self.recipe.kind == "pair" else "found"
        return {f"validation split, labels {labels}": self.validate()}

    def renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of another network under the names of this network.

        Of a network with more levels and inputs, these are the finer blocks of the decoders and the filters
        of the image.
        """
        own, out = self.network.state_dict(), dict(state)
        if "stem.0.weight" in own and "stem.0.weight" in state:
            out["stem.0.weight"] = state["stem.0.weight"][:, : own["stem.0.weight"].shape[1]]
        fewer = _count_blocks(state) - _count_blocks(own)
        for key, value in state.items():
            if block := UP.search(key):
                number = int(block[1]) - fewer
                out[f"{key[: block.start(1)]}{number}{key[block.end(1) :]}"] = value
        return out


class HippocampusVelocityTrainer(VelocityTrainer):
    """Trains the network of the velocity between two hippocampi on the Dice of transferred labels."""

    scored: ClassVar[str] = "validation split, labels carried, soft Dice"

    _held_out: AlignedPairs | None = None

    def samples(self, stage: dict[str, Any], data: Path) -> AlignedPairs:
        """Return the source of a stage's examples from prepared arrays."""
        ranges = {ALIASES.get(k, k): v for k, v in self.recipe.generator.items()}
        return AlignedPairs(data, stage["shape"], stage["spacing"], device=self.device, **ranges)

    def held_out(self, validation: Path) -> AlignedPairs:
        """Return the source of the validation examples: every case with the next one."""
        if self._held_out is None:
            stage = self.recipe.stages[-1]
            self._held_out = AlignedPairs(validation, stage["shape"], stage["spacing"], device=self.device)
            self.rounds = len(self._held_out.cases) - 1
        return self._held_out


def _count_blocks(state: dict[str, Tensor]) -> int:
    """Return the number of blocks of a decoder."""
    return len({block[1] for key in state if (block := UP.search(key))})
