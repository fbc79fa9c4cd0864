"""Arrays from images with labels, prepared again if files, label table or recipe have changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...models.population import labels
from ...models.segmentation.own import tissues
from ..core.recipe import Recipe
from ..core.recipe_check import built
from ..supervised import cases as found_cases
from ..supervised import prepare, split
from ..supervised.cases import Case
from . import cache


def folder(
    recipe: Recipe, source: Path, out: Path, *, split: Path | None = None, fold: int | None = None
) -> tuple[Path, Path | None, int]:
    """Prepare the cases of a folder or table for training and validation.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the kind ``supervised``.
    source : Path
        Folder or table of images with labels.
    out : Path
        Folder of the run.
    split : Path, optional
        Split (TSV).
    fold : int, optional
        Number of the fold that validates.

    Returns
    -------
    tuple of Path, Path or None, int
        Arrays for training and validation, and the number of training cases.

    Raises
    ------
    UsageError, InputError
        If there are no cases, the split does not fit, or a file cannot be used.
    """
    if (fold is None) == bool(recipe.folds):
        remedy = f"Give --fold 1 to {recipe.folds}" if recipe.folds else "Set folds=5, or omit --fold"
        raise UsageError(None, f"the recipe has {recipe.folds} folds and --fold is {fold}", remedy)
    out.mkdir(parents=True, exist_ok=True)
    spec = recipe.inputs
    known = found_cases.find(source, spec["contrasts"], brain_masks=spec["use"] == "mask")
    parts = _split(known, out, split, recipe.folds, fold)
    made: dict[str, Path] = {}
    for part in ("training", "validation"):
        if parts[part]:
            made[part] = out / f"{part}.npz"
            _prepare(recipe, parts[part], made[part])
    counts = ", ".join(f"{len(some)} {part}" for part, some in parts.items())
    print(f"cases: {counts} ({out / 'split.tsv'})", flush=True)
    if "validation" not in made:
        print("note: no case is held out: no scores, the last weights", flush=True)
        (out / "validation.npz").unlink(missing_ok=True)
    return made["training"], made.get("validation"), len(parts["training"])


def _split(
    known: Sequence[Case], out: Path, given: Path | None, folds: int, fold: int | None
) -> dict[str, list[Case]]:
    return split.of(known, out, given, folds=folds, fold=fold or 0)


def _prepare(recipe: Recipe, cases: list[Case], path: Path) -> None:
    table = labels.own(recipe.table)
    spacing = recipe.stages[-1]["spacing"]
    listed = [json.dumps([recipe.inputs, spacing, recipe.coarse, labels.as_rows(table)])]
    if population := recipe.inputs["tissues"]:  # found by that network
        listed.append(tissues.weights(population))
    for case in cases:
        states = ((file, file.stat()) for file in case.files)
        listed += [f"{file} {state.st_size} {state.st_mtime_ns}" for file, state in states]
    make = partial(
        _make,
        cases,
        table=table,
        spec=recipe.inputs,
        spacing=spacing,
        stride=int(built(recipe).stride),  # type: ignore[arg-type]
        coarse=recipe.coarse,
    )
    cache.make_if_changed(path, listed, f"{len(cases)} cases", make)


def _make(cases: list[Case], path: Path, **more: Any) -> None:
    prepare.prepare(cases, path, **more)
