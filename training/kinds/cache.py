"""Folders of label maps into arrays for training and validation, made anew where the folder has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...models.errors import UsageError
from ...models.networks import zoo
from ..core.recipe import Recipe, canonical, shipped_data
from ..data.prepare import prepare
from ..data.sources import table_path
from ..fetal import dataset
from ..fetal import prepare as fetal

EVERY, HELD_OUT = 5, 4
"""Of every five maps or subjects in the order of their names, the one for validation."""


def heads(folder: Path, out: Path, table: str) -> tuple[Path, Path | None, int]:
    """Arrays of the label maps of a folder, for training and, from five maps on, for validation.

    Returns
    -------
    tuple of Path, Path or None, int
        Both files, and how many maps train.

    Raises
    ------
    UsageError
        If there are no maps.
    """
    maps = sorted(path for path in folder.rglob("*") if path.name.endswith((".nii", ".nii.gz")))
    if not maps:
        raise UsageError(folder, "there are no NIfTI files in it", "Give a folder of label maps")
    kept = maps[HELD_OUT::EVERY]
    parts = {"training": [path for path in maps if path not in kept], "validation": kept}
    made: dict[str, Path] = {}
    for name, paths in parts.items():
        if paths:
            made[name] = out / f"{name}.npz"
            listed = [table, *(f"{path} {path.stat().st_size}" for path in paths)]
            _remade(made[name], listed, f"{len(paths)} maps", lambda to, p=paths: prepare(p, to, table))
    return made["training"], made.get("validation"), len(parts["training"])


def fetuses(folder: Path, out: Path, table: str = "fetal") -> tuple[Path, Path | None, int]:
    """The same for fetal subjects: images with labels; all sessions of a subject are on one side.

    Raises
    ------
    UsageError, InputError
        If there are no subjects, or something about one cannot be used.
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
    for name, subjects in parts.items():
        if subjects:
            made[name] = out / f"{name}.npz"
            listed = [text, *(_line(one) for one in subjects)]
            make = lambda to, s=subjects: fetal.prepare(s, to, table)  # noqa: E731
            _remade(made[name], listed, f"{len(subjects)} subjects", make)
    return made["training"], made.get("validation"), len(parts["training"])


def described(recipe: Recipe, changes: Mapping[str, Any], folder: Path, count: int) -> Recipe:
    """A recipe whose data and licence are those of a user's folder, not those of the weights that come along.

    What a recipe of one's own, or the command line, says of the data is kept.

    Parameters
    ----------
    recipe : Recipe
        What to train.
    changes : dict
        What the command line changes in it.
    folder : Path
        The data.
    count : int
        How many maps or subjects train.
    """
    changes = canonical(changes)
    own = "data" in changes or recipe.data not in shipped_data()
    if own and ("licence" in changes or "data" not in changes):
        return recipe
    data = recipe.data if own else f"{folder.resolve().name} ({count})"
    licence = recipe.licence if "licence" in changes else "not stated (yours)"
    cards = {name: zoo.read_card(name) for name in recipe.starts}
    if cards:
        data += "; begun from " + "; ".join(f"{k}: {c.get('training_data')}" for k, c in cards.items())
        licence += "; begun from " + "; ".join(f"{k}: {c.get('licence')}" for k, c in cards.items())
    return replace(recipe, data=data, licence=licence)


def _line(one: dataset.Subject) -> str:
    """A subject's files and age, as they are now."""
    known = [f"{p} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in (one.image, one.labels)]
    return " ".join([*known, f"{one.weeks:g}"])


def _remade(path: Path, listed: list[str], what: str, make: Callable[[Path], None]) -> None:
    """Make a file unless the list beside it says that it is of the same things."""
    beside, text = path.with_suffix(".txt"), "\n".join(listed)
    if path.is_file() and beside.is_file() and beside.read_text() == text:
        return
    print(f"preparing {what} for {path.stem}", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)
    make(path)
    beside.write_text(text)
