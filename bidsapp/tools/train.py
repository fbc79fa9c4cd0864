"""``brainseg train``: train the network of a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...training.core import trainer
from ...training.core.recipe import Recipe
from ...training.fetal import trainer as fetal_trainer
from ...training.hippocampus import trainer as hippocampus_trainer
from ...training.kinds import cache
from ...training.lesion import trainer as lesion_trainer
from ...training.registration import trainer as velocity_trainer
from . import recipes
from .compute import device, set_threads

PREPARE = "Make it with: brainseg train prepare OUT MAP ..."
SCANS = "Make it with: brainseg train scans OUT FOLDER"


def run(args: argparse.Namespace) -> int:
    """Train a network, or continue its training; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg train``.

    Raises
    ------
    UsageError
        If the arguments do not fit the recipe.
    """
    changes = recipes.changes(args.changes)
    for path in filter(None, (args.data, args.validation)):
        recipes.existing(path, PREPARE)
    recipe, out = recipes.read(args.recipe, changes), Path(args.out)
    lesions = recipe.kind == lesion_trainer.KIND
    if bool(args.data) == bool(args.maps) and not (args.data and lesions):
        raise UsageError(None, "training needs data", "Give either --data or --maps")
    if args.table and (lesions or _hippocampal(recipe)):
        raise UsageError(None, f"the recipe {recipe.name} uses no label table", "Omit --table")
    set_threads(args)
    if lesions:
        print(lesion_trainer.made(recipe, args.maps, args.data, out, device(args)).run())
        return 0
    recipe, data, validation = _data(args, recipe, changes, out)
    scans = recipes.existing(args.scans, SCANS) if args.scans else None
    labeled = _labeled(args.labeled, recipe)
    make = _trainer(recipe.kind)
    print(make(recipe, Path(data), out, validation, device(args), scans, labeled).run())
    return 0


def _hippocampal(recipe: Recipe) -> bool:
    """Return whether a recipe trains on hippocampi."""
    return recipe.kind in (*hippocampus_trainer.KINDS, *hippocampus_trainer.VELOCITY_KINDS)


def _data(
    args: argparse.Namespace, recipe: Recipe, changes: dict[str, Any], out: Path
) -> tuple[Recipe, Path, Path | None]:
    """Return the recipe, the arrays to train on and those for validation; label maps are prepared first."""
    data, validation = args.data, args.validation
    if args.maps and _hippocampal(recipe):
        data, held_out = hippocampus_trainer.prepared(Path(args.maps), out)
        validation = validation or held_out
    elif args.maps:
        fetal = recipe.kind in fetal_trainer.KINDS
        make, table = (cache.fetuses, "fetal") if fetal else (cache.heads, "headmaps")
        data, held_out, count = make(Path(args.maps), out, args.table or table)
        recipe = cache.described(recipe, changes, Path(args.maps), count)
        validation = validation or held_out
    return recipe, Path(data), Path(validation) if validation else None


def _trainer(kind: str) -> Any:
    """Return the trainer of a kind of recipe."""
    for maker, kinds in (
        (hippocampus_trainer.HippocampusVelocityTrainer, hippocampus_trainer.VELOCITY_KINDS),
        (hippocampus_trainer.HippocampusTrainer, hippocampus_trainer.KINDS),
        (velocity_trainer.VelocityTrainer, velocity_trainer.KINDS),
        (fetal_trainer.FetalTrainer, fetal_trainer.KINDS),
    ):
        if kind in kinds:
            return maker
    return trainer.Trainer


def _labeled(path: str | None, recipe: Recipe) -> Path | None:
    """Return the file of real scans to train on, if the recipe trains on real scans."""
    if path is None and not recipe.real:
        return None
    if recipe.kind != "cascade":
        raise UsageError(None, f"the recipe {recipe.name} trains on no real scans", "Omit --labeled")
    if path is None:
        reason = f"the recipe {recipe.name} trains on real scans too"
        raise UsageError(None, reason, "Give --labeled NPZ, from: brainseg train scans; or set real=0")
    if not recipe.real:
        raise UsageError(None, f"the recipe {recipe.name} has no share of real scans", "Set real=0.3")
    return recipes.existing(path, SCANS)
