"""The trainer of the lesion network: other examples and losses, all else as for structures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.errors import UsageError
from ...models.segmentation import lesion
from ..core.recipe import Recipe
from ..core.trainer import Trainer
from ..losses.segmentation import binary_loss, slice_dice_loss
from ..synthesis.generator import GeneratorConfig, HeadGenerator
from .examples import DARK, LesionSlices, load, prepare

KIND = "lesion"
"""Kind of recipes that this trainer knows."""


EVERY, HELD_OUT, TESTED = 8, 3, (2, 6)
"""Of every eight patients in the order of their names, the one for validation and the two for tests."""


def split(folder: Path) -> dict[str, list[Path]]:
    """Patients of a folder for ``training``, ``validation`` and ``test``, by the order of their names.

    Raises
    ------
    UsageError
        If there are none.
    """
    subjects = sorted(path for path in folder.iterdir() if path.is_dir())
    if not subjects:
        raise UsageError(folder, "there are no patients in it", "Give a folder with one for each of them")
    parts: dict[str, list[Path]] = {"training": [], "validation": [], "test": []}
    for k, path in enumerate(subjects):
        place = k % EVERY
        parts["validation" if place == HELD_OUT else "test" if place in TESTED else "training"].append(path)
    return parts


def made(
    recipe: Recipe, folder: str | None, heads: str | None, out: Path, device: str = "cpu"
) -> LesionTrainer:
    """The trainer for a folder of patients, for synthetic heads, or for both."""
    data = validation = None
    if folder:
        out.mkdir(parents=True, exist_ok=True)
        spacing = float(recipe.stages[-1]["spacing"])
        data, validation = (out / f"{part}-{spacing:g}.npz" for part in ("training", "validation"))
        parts = split(Path(folder))
        for part, path in (("training", data), ("validation", validation)):
            if not path.is_file():
                prepare(parts[part], path, spacing)
        (out / "test.txt").write_text("".join(f"{path.name}\n" for path in parts["test"]))
    return LesionTrainer(recipe, data, out, validation, device, Path(heads) if heads else None)


class LesionTrainer(Trainer):
    """Trains on prepared scans with lesions, on synthetic heads, or on both; by processor time.

    Parameters
    ----------
    recipe, folder, validation, device
        As for :class:`brainseg.training.core.trainer.Trainer`.
    data : Path or None
        Arrays of :func:`brainseg.training.lesion.examples.prepare`.
    heads : Path or None
        Arrays of :func:`brainseg.training.data.prepare.prepare`, for synthetic heads.
    """

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

    def run(self, clock: Callable[[], float] = time.process_time) -> Path:
        """Train until the recipe's minutes of processor time are spent, then export."""
        return super().run(clock)

    def samples(self, stage: dict[str, Any], data: Path) -> LesionSlices:
        """The examples of a stage."""
        changes = self.recipe.generator | {
            k: v for k, v in stage.items() if k in GeneratorConfig.__dataclass_fields__
        }
        generator = None
        if self.heads:
            generator = HeadGenerator(self.heads, replace(GeneratorConfig(), **changes), self.device)
        return LesionSlices(
            self.cases,
            generator,
            stage["shape"],
            stage["spacing"],
            self.recipe.repeat,
            stage.get("real", 0.6),
        )

    def losses(self, out: dict[str, tuple[Tensor, Tensor]], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy with Dice of the batch, or the mean Dice of its slices."""
        logit, truth = out["lesion"][0].float(), targets["lesion"]
        known = {"lesion": binary_loss, "slice-dice": slice_dice_loss}
        unknown = set(self.recipe.losses) - set(known)
        if unknown:
            raise ValueError(f"recipe {self.recipe.name}: unknown losses {', '.join(sorted(unknown))}")
        return {name: weight * known[name](logit, truth) for name, weight in self.recipe.losses.items()}

    @torch.no_grad()
    def validate(self, heads: int = 4) -> dict[str, float]:
        """Dice by patient, over the whole volume, and their mean."""
        if not self.held_out:
            return {}
        with self.averaged():
            scores = {}
            for number, case in enumerate(self.held_out):
                data = torch.where(case.outside <= lesion.AROUND, case.image, DARK)
                step = lesion.REACH / case.step
                x = torch.stack([data, lesion.shifted(data, -step), lesion.shifted(data, step)])
                pads = [(-n) % self.network.stride for n in data.shape[:2]]
                x = F.pad(x, (0, 0, 0, pads[1], 0, pads[0]), value=DARK)
                found = self.network(x[None].to(self.device))["lesion"][0][0, 0].cpu()
                found = (found[: data.shape[0], : data.shape[1]] > 0) & (case.outside <= 0)
                both = float((found & case.lesion).sum())
                scores[str(number)] = 2 * both / max(float(found.sum() + case.lesion.sum()), 1)
        return scores | {"mean": sum(scores.values()) / len(scores)}

    def _centroids(self) -> dict[str, list[float]]:
        return {}

    def _scored(self) -> str:
        return "patients that did not train, Dice of the volume"
