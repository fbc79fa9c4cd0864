"""The trainer of the hippocampus's networks: other examples, all else as for heads."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import UsageError
from ...models.networks.gradient_net import displaced
from ..core.trainer import Trainer
from ..evaluation.metrics import dice_by_class
from ..losses.pairs import pair_losses
from ..registration.trainer import VelocityTrainer
from .generator import CLASSES, CropConfig, CropGenerator, Crops, Pairs, cases, prepare, split
from .pairs import AlignedPairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KINDS: dict[str, type[Crops] | type[Pairs]] = {"crop": Crops, "pair": Pairs}
"""Kinds of recipes that this trainer knows."""

VELOCITY_KINDS = ("hippocampus-registration",)
"""Kinds of recipes that :class:`HippocampusVelocityTrainer` knows."""


def prepared(folder: Path, out: Path) -> tuple[Path, Path]:
    """Arrays of the training and the validation part of a folder with ``images`` and ``labels``.

    Raises
    ------
    UsageError
        If there are too few cases in it for a split.
    """
    found = cases(folder)
    if len(found) < 10:
        raise UsageError(
            folder,
            f"there are {len(found)} cases in it",
            "It needs images/ and labels/ of ten",
        )
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ("training", "validation"):
        paths.append(out / f"{name}.npz")
        if not paths[-1].is_file():
            prepare({case: found[case] for case in split(list(found))[name]}, paths[-1])
    return paths[0], paths[1]


UP = re.compile(r"^decoders\.\w+\.up\.(\d+)\.")
"""Weights of a decoder's block, numbered from the coarsest."""


class HippocampusTrainer(Trainer):
    """Trains from :func:`brainseg.training.hippocampus.generator.prepare`'s arrays; its budget is processor
    time."""

    def run(self, clock: Callable[[], float] = time.process_time) -> Path:
        """Train until the recipe's minutes of processor time are spent, then export."""
        return super().run(clock)

    def samples(self, stage: dict[str, Any], data: Path) -> Crops | Pairs:
        """The examples of a stage."""
        changes = self.recipe.generator | {k: v for k, v in stage.items() if hasattr(CropConfig, k)}
        generator = CropGenerator(data, replace(CropConfig(), **changes), self.device)
        return KINDS[self.recipe.kind](generator, stage["shape"], stage["spacing"])

    def losses(self, out: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every weighted loss of the recipe."""
        if self.recipe.kind != "pair":
            return super().losses(out, targets)
        if not self.source().generator.config.symmetric:
            out = {"forward": out["forward"]}
        maps = [
            F.one_hot(targets[name], CLASSES)[..., 1:].movedim(-1, 1).float() for name in ("moving", "fixed")
        ]
        return pair_losses(out, targets["images"], (maps[0], maps[1]), self.recipe.losses)

    @torch.no_grad()
    def validate(self, heads: int = 0) -> dict[str, float]:
        """Dice of the parts on whole cases that never train, as they are; of pairs once registered."""
        if self.validation is None:
            return {}
        with self.averaged():
            source = self.samples(self.recipe.stages[-1] | {"plain": 1.0}, self.validation)
            scores: dict[str, list[float]] = {}
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

    def export(self) -> Path:
        """Write the averaged weights with their card."""
        path = super().export()
        card = path.with_suffix(".json")
        content = json.loads(card.read_text()) | {"kind": self.recipe.kind}
        scores = content["scores"]
        way = "moved" if self.recipe.kind == "pair" else "found"
        content["scores"] = {f"validation split, labels {way}": next(iter(scores.values()))}
        card.write_text(json.dumps(content, indent=2) + "\n")
        return path

    def _renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a network of more levels and inputs the decoders' finer blocks, and the image's filters."""
        own, out = self.network.state_dict(), dict(state)
        if "stem.0.weight" in own and "stem.0.weight" in state:
            out["stem.0.weight"] = state["stem.0.weight"][:, : own["stem.0.weight"].shape[1]]
        fewer = _blocks(state) - _blocks(own)
        for key, value in state.items():
            if block := UP.search(key):
                number = int(block[1]) - fewer
                out[f"{key[: block.start(1)]}{number}{key[block.end(1) :]}"] = value
        return out

    def _centroids(self) -> dict[str, list[float]]:
        return {}


class HippocampusVelocityTrainer(VelocityTrainer):
    """Trains the network of the velocity between two hippocampi on the Dice of carried labels."""

    _held_out: AlignedPairs | None = None

    def samples(self, stage: dict[str, Any], data: Path) -> AlignedPairs:
        """The examples of a stage."""
        return AlignedPairs(
            data, stage["shape"], stage["spacing"], device=self.device, **self.recipe.generator
        )

    def held_out(self) -> AlignedPairs:
        """The examples of a validation: every case and the next."""
        if self._held_out is None:
            stage = self.recipe.stages[-1]
            self._held_out = AlignedPairs(
                self.validation, stage["shape"], stage["spacing"], device=self.device
            )
            self.rounds = len(self._held_out.cases) - 1
        return self._held_out

    def _scored(self) -> str:
        return "validation split, labels carried, soft Dice"


def _blocks(state: dict[str, Tensor]) -> int:
    """Blocks of a decoder."""
    return len({block[1] for key in state if (block := UP.search(key))})
