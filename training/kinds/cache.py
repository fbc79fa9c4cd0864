"""Arrays for training and validation from folders of label maps, prepared again if a folder has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...models.io.folders import IMAGES, files_below
from ...models.networks import purpose, zoo
from ..core.recipe import UNSTATED, Recipe, canonical, shipped_data
from ..data.prepare import prepare
from ..data.sources import table_path
from ..fetal import dataset
from ..fetal import prepare as fetal

EVERY, HELD_OUT = 5, 4
"""Of every five maps or subjects in alphabetical order, the one for validation."""


def heads(folder: Path, out: Path, table: str) -> tuple[Path, Path | None, int]:
    """Prepare the label maps of a folder for training and, if there are five or more, for validation.

    Parameters
    ----------
    folder : Path
        Folder of label maps.
    out : Path
        Folder for the arrays.
    table : str
        Source table.

    Returns
    -------
    tuple of Path, Path or None, int
        Files for training and validation, and the number of training maps.

    Raises
    ------
    UsageError
        If there are no maps.
    """
    found = files_below(folder, *IMAGES)
    # Of a BIDS dataset the segmentations, not the images beside them.
    maps = [path for path in found if path.name.split(".")[0].endswith("_dseg")] or found
    if not maps:
        raise UsageError(folder, "there are no NIfTI files in the folder", "Give a folder of label maps")
    kept = maps[HELD_OUT::EVERY]
    parts = {"training": [path for path in maps if path not in kept], "validation": kept}
    made: dict[str, Path] = {}
    if not kept:
        print(f"note: {len(maps)} maps are too few to hold any out: no scores, the last weights", flush=True)
    for name, paths in parts.items():
        if paths:
            made[name] = out / f"{name}.npz"
            listed = [table, *(f"{path} {path.stat().st_size}" for path in paths)]
            make = partial(_prepare_heads, paths, table)
            make_if_changed(made[name], listed, f"{len(paths)} maps", make)
    return made["training"], made.get("validation"), len(parts["training"])


def fetuses(folder: Path, out: Path, table: str = "fetal") -> tuple[Path, Path | None, int]:
    """Prepare fetal images with labels for training and validation; a subject's sessions stay together.

    Parameters
    ----------
    folder : Path
        Folder of subjects.
    out : Path
        Folder for the arrays.
    table : str
        Source table.

    Returns
    -------
    tuple of Path, Path or None, int
        Files for training and validation, and the number of training subjects.

    Raises
    ------
    UsageError, InputError
        If there are no subjects, or a file or age of a subject cannot be used.
    """
    found = dataset.find(folder)
    participants = sorted({one.participant for one in found})
    kept = set(participants[HELD_OUT::EVERY])
    parts = {
        "training": [one for one in found if one.participant not in kept],
        "validation": [one for one in found if one.participant in kept],
    }
    text = table_path(table).read_text()
    made: dict[str, Path] = {}
    if not kept:
        print(f"note: {len(participants)} subjects are too few to hold any out: no scores", flush=True)
    for name, subjects in parts.items():
        if subjects:
            made[name] = out / f"{name}.npz"
            listed = [text, *(_line(one) for one in subjects)]
            make = partial(_prepare_fetuses, subjects, table)
            make_if_changed(made[name], listed, f"{len(subjects)} subjects", make)
    return made["training"], made.get("validation"), len(parts["training"])


def described(recipe: Recipe, changes: Mapping[str, Any], folder: Path, count: int) -> Recipe:
    """Return a recipe with the description and license of a user's folder instead of the shipped data's.

    Descriptions in the user's own recipe or on the command line are kept.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the network.
    changes : dict
        Values of the recipe that the user changed.
    folder : Path
        Folder of the data.
    count : int
        Number of training maps or subjects.
    """
    changes = canonical(changes)
    unsaid = recipe.kind == purpose.SUPERVISED and not recipe.data
    own = "data" in changes or not (unsaid or recipe.data in shipped_data())
    if own and ("license" in changes or "data" not in changes) and recipe.license != UNSTATED:
        return recipe
    data = recipe.data if own else f"{folder.resolve().name} ({count})"
    license = recipe.license if "license" in changes else "not stated (yours)"
    cards = {name: zoo.read_card(name) for name in recipe.starts}
    if cards:
        data += "; begun from " + "; ".join(f"{k}: {c.get('training_data')}" for k, c in cards.items())
        license += "; begun from " + "; ".join(f"{k}: {c.get('license')}" for k, c in cards.items())
    return replace(recipe, data=data, license=license)


def _prepare_heads(paths: list[Path], table: str, out: Path) -> None:
    prepare(paths, out, table)


def _prepare_fetuses(subjects: list[dataset.Subject], table: str, out: Path) -> None:
    fetal.prepare(subjects, out, table)


def _line(one: dataset.Subject) -> str:
    """Return a line that changes with the files and the age of a subject."""
    known = [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in (one.image, one.labels)]
    return " ".join([*known, f"{one.weeks:g}"])


def make_if_changed(path: Path, listed: list[str], what: str, make: Callable[[Path], None]) -> None:
    """Make a file unless the list next to it names the same inputs.

    Parameters
    ----------
    path : Path
        The file.
    listed : list of str
        Lines that change with the inputs.
    what : str
        What is prepared, in words.
    make : callable
        Makes the file.
    """
    beside, text = path.with_suffix(".txt"), "\n".join(listed)
    if path.is_file() and beside.is_file() and beside.read_text() == text:
        return
    print(f"preparing {what} for {path.stem}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)
    make(path)
    beside.write_text(text)
