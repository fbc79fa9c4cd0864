"""Assembly of a training run from a recipe and data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ..core.recipe import Recipe
from ..core.trainer import Trainer
from ..diffusion.trainer import LatentDiffusionTrainer
from ..fetal.trainer import FetalTrainer
from ..heads.trainer import HeadTrainer
from ..hippocampus.prepare import prepare_split
from ..hippocampus.trainer import HippocampusTrainer, HippocampusVelocityTrainer
from ..lesion.prepare import prepare_folder
from ..lesion.trainer import LesionTrainer
from ..registration.trainer import VelocityTrainer
from ..supervised.trainer import SupervisedTrainer
from . import cache, held_out, images
from . import supervised as prepare
from .registry import KINDS


@dataclass(frozen=True)
class Data:
    """Data of a training run: either prepared arrays or a folder of label maps (lesions: or both).

    Attributes
    ----------
    arrays : Path, optional
        Prepared arrays.
    maps : Path, optional
        Folder of label maps, or of scans with lesion masks.
    table : str, optional
        Source table of the label maps.
    validation : Path, optional
        Prepared arrays for validation.
    scans : Path, optional
        Prepared real scans for scores.
    labeled : Path, optional
        Prepared real scans for training.
    unlabeled : Path, optional
        Prepared real scans for the training of a registration.
    split : Path, optional
        Split of images with labels (:mod:`brainseg.training.supervised.split`).
    fold : int, optional
        Number of the fold that validates, from 1.
    """

    arrays: Path | None = None
    maps: Path | None = None
    table: str | None = None
    validation: Path | None = None
    scans: Path | None = None
    labeled: Path | None = None
    unlabeled: Path | None = None
    split: Path | None = None
    fold: int | None = None


def assemble(
    recipe: Recipe, data: Data, out: Path, changes: Mapping[str, Any] | None = None, device: str = "cpu"
) -> Trainer:
    """Return the trainer of a recipe; label maps are prepared first.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the network.
    data : Data
        Data of the run.
    out : Path
        Folder of the run.
    changes : mapping of str to Any, optional
        Values of the recipe that the user changed.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    UsageError
        If the data do not fit the recipe.
    InputError
        If an image or a table cannot be used.
    """
    kind = KINDS[recipe.kind].trainer
    _check(recipe, data, kind)
    if kind is SupervisedTrainer:
        recipe, cases, kept = _labeled(recipe, data, out, changes or {})
        return SupervisedTrainer(recipe, cases, out, kept, device)
    if kind is LesionTrainer:
        arrays = validation = None
        if data.maps:
            arrays, validation = prepare_folder(data.maps, out, float(recipe.stages[-1]["spacing"]))
        held_out.check(recipe.kind, arrays, validation, "--maps")
        return LesionTrainer(recipe, arrays, out, validation, device, data.arrays)
    recipe, arrays, kept = _prepared(recipe, data, kind, out, changes or {})
    validation = data.validation or kept
    held_out.check(recipe.kind, arrays, validation)
    held_out.check(recipe.kind, data.labeled, data.scans, "--scans")
    if issubclass(kind, HeadTrainer):
        return kind(recipe, arrays, out, validation, device, data.scans, data.labeled)
    if kind is VelocityTrainer:
        return VelocityTrainer(recipe, arrays, out, validation, device, data.unlabeled)
    return kind(recipe, arrays, out, validation, device)


def _check(recipe: Recipe, data: Data, kind: type[Trainer]) -> None:
    """Refuse data that do not fit the recipe."""
    lesions = kind is LesionTrainer
    if bool(data.arrays) == bool(data.maps) and not (data.arrays and lesions):
        raise UsageError(None, "training needs data", "Give either --data or --maps")
    if recipe.merge and not (data.maps and kind in (HippocampusTrainer, HippocampusVelocityTrainer)):
        raise UsageError(None, "merge is for hippocampi, and for --maps", "Set merge=false")
    if data.table and (lesions or kind in (HippocampusTrainer, HippocampusVelocityTrainer)):
        raise UsageError(None, f"the recipe {recipe.name} uses no label table", "Omit --table")
    if kind is VelocityTrainer:
        _check_pairs(recipe, data)
        return
    if data.unlabeled is not None:
        raise UsageError(None, f"the recipe {recipe.name} is no registration", "Omit --unlabeled")
    if data.labeled is None and not recipe.real:
        return
    if recipe.kind != "cascade":
        raise UsageError(None, f"the recipe {recipe.name} trains on no real scans", "Omit --labeled")
    if data.labeled is None:
        raise UsageError(
            None,
            f"the recipe {recipe.name} trains on real scans too",
            "Give --labeled NPZ, from: brainseg train scans; or set real=0",
        )
    if not recipe.real:
        raise UsageError(None, f"the recipe {recipe.name} has no share of real scans", "Set real=0.3")


def _check_pairs(recipe: Recipe, data: Data) -> None:
    """Refuse scans without labels that a registration does not use, and a share without scans."""
    if data.labeled is not None:
        raise UsageError(None, f"the recipe {recipe.name} trains on scans without labels", "Omit --labeled")
    if bool(recipe.real) != (data.unlabeled is not None):
        remedy = "Give both: real=0.5 and --unlabeled NPZ, from: brainseg train unlabeled"
        raise UsageError(None, "real scans need a share and a file", remedy)


def _labeled(
    recipe: Recipe, data: Data, out: Path, changes: Mapping[str, Any]
) -> tuple[Recipe, Path, Path | None]:
    """Return the recipe with a description of the images with labels, and their arrays."""
    if data.maps is None:
        assert data.arrays is not None
        held_out.check(recipe.kind, data.arrays, data.validation)
        return recipe, data.arrays, data.validation
    arrays, kept, count = prepare.folder(recipe, data.maps, out, split=data.split, fold=data.fold)
    return cache.described(recipe, changes, data.maps, count), arrays, kept


def _prepared(
    recipe: Recipe, data: Data, kind: type[Trainer], out: Path, changes: Mapping[str, Any]
) -> tuple[Recipe, Path, Path | None]:
    """Return the recipe with a description of the data, and the arrays for training and validation."""
    if data.arrays:
        return recipe, data.arrays, None
    assert data.maps is not None
    if kind in (HippocampusTrainer, HippocampusVelocityTrainer):
        return recipe, *prepare_split(data.maps, out, merge=recipe.merge)
    if kind is LatentDiffusionTrainer:
        suffix, stage = (recipe.inputs.get("contrasts") or ["T1w"])[0], recipe.stages[-1]
        arrays, kept, count = images.folder(data.maps, out, suffix, stage["shape"], stage["spacing"])
    elif kind is FetalTrainer:
        arrays, kept, count = cache.fetuses(data.maps, out, data.table or "fetal")
    else:
        arrays, kept, count = cache.heads(data.maps, out, data.table or "headmaps")
    return cache.described(recipe, changes, data.maps, count), arrays, kept
