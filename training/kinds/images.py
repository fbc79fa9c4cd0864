"""Arrays of images without labels from a BIDS folder, prepared again if the images have changed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ...models.errors import UsageError
from ...models.io.folders import files_below
from ..diffusion.prepare import prepare
from .cache import EVERY, HELD_OUT, make_if_changed

FEWEST = 4
"""Fewest images."""


def folder(
    source: Path, out: Path, suffix: str, shape: Sequence[int], spacing: float
) -> tuple[Path, Path | None, int]:
    """Prepare the images of a BIDS folder; of five participants one is held out.

    Parameters
    ----------
    source, out : Path
        BIDS folder, and folder of the run.
    suffix : str
        BIDS suffix of the images.
    shape, spacing : sequence of int, float
        As for :func:`prepare`.

    Returns
    -------
    tuple of Path, Path or None, int
        Arrays for training and validation, and the number of training images.

    Raises
    ------
    UsageError
        If there are too few images.
    """
    found = files_below(source, f"sub-*_{suffix}.nii", f"sub-*_{suffix}.nii.gz")
    found = [path for path in found if path.relative_to(source).parts[0].startswith("sub-")]
    if len(found) < FEWEST:
        reason = f"{len(found)} images sub-*_{suffix} are too few to learn from"
        raise UsageError(source, reason, f"Give a BIDS folder of {FEWEST} or more, better of hundreds")
    people = sorted({path.name.split("_")[0] for path in found})
    kept = set(people[HELD_OUT::EVERY])
    parts: dict[str, list[Path]] = {"training": [], "validation": []}
    for path in found:
        parts["validation" if path.name.split("_")[0] in kept else "training"].append(path)
    out.mkdir(parents=True, exist_ok=True)
    made: dict[str, Path] = {}
    for name, paths in parts.items():
        if paths:
            made[name] = out / f"{name}.npz"
            listed = [f"{list(shape)} {spacing}", *(f"{path} {path.stat().st_size}" for path in paths)]
            make = partial(_prepare, paths, shape, spacing)
            make_if_changed(made[name], listed, f"{len(paths)} images", make)
    return made["training"], made.get("validation"), len(parts["training"])


def _prepare(paths: list[Path], shape: Sequence[int], spacing: float, out: Path) -> None:
    prepare(paths, out, shape, spacing)
