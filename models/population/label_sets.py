"""What the values of a label image mean: the label tables that they fit, and values that are no labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import labels

TABLES = ("adult", "fetal", "fetal-callosum", "dseg", "tissue", "feta", "hippocampus")
"""Label tables that are recognized, in the order of preference."""

DESCRIPTIONS = {
    "adult": "structures (FreeSurfer ids)",
    "fetal": "structures of the fetal brain",
    "fetal-callosum": "structures of the fetal brain",
    "dseg": "tissues",
    "tissue": "tissues",
    "feta": "tissues of FeTA",
    "hippocampus": "parts of the hippocampus",
}
"""What the labels of a table are, for messages."""

MANY = 1000
"""Number of distinct values above which an image is no label image."""

SEVERAL = 40
"""Number of distinct values above which an image is examined for regions of one value."""

LEAST_EQUAL = 0.35
"""Least share of neighboring voxels with the same value in a label image; noise makes it smaller."""

LARGEST_RATIO = 3.0
"""Largest plausible ratio of the volumes of a structure on both sides, for large structures."""


def fitting(values: Iterable[int]) -> tuple[str, ...]:
    """Return the label tables that have all of the labels.

    Parameters
    ----------
    values : iterable of int
        Values of a label image; 0 is background.

    Examples
    --------
    >>> fitting([0, 1, 2, 3])
    ('dseg', 'tissue', 'feta', 'hippocampus')
    >>> fitting([2, 3, 41, 42])
    ('adult', 'fetal', 'fetal-callosum')
    """
    wanted = set(values) - {0}
    return tuple(name for name in TABLES if wanted <= set(labels.load(name).by_index))


def described(tables: Collection[str]) -> str:
    """Return what the labels are that fit some tables.

    Examples
    --------
    >>> described(("dseg", "tissue"))
    'tissues'
    """
    return " or ".join(dict.fromkeys(DESCRIPTIONS.get(name, name) for name in tables))


def shown(values: Iterable[int], most: int = 8) -> str:
    """Return label values for a message, not all of them if there are many.

    Examples
    --------
    >>> shown([3, 1, 2]), shown(range(300), 3)
    ('1, 2, 3', '0, 1, 2, ... (300 values)')
    """
    listed = sorted(values)
    if len(listed) <= most:
        return ", ".join(map(str, listed))
    return ", ".join(map(str, listed[:most])) + f", ... ({len(listed)} values)"


def check_labels(values: np.ndarray, path: Path) -> None:
    """Refuse an image in place of a label image.

    Parameters
    ----------
    values : ndarray, shape (X, Y, Z)
        Voxel values.
    path : Path
        File, for the error message.

    Raises
    ------
    InputError
        If values are not whole numbers, negative, too many, or differ from voxel to voxel.
    """
    remedy = "Give a label image (a segmentation)"
    if not np.isfinite(values).all() or not (values == np.round(values)).all():
        raise InputError(path, "the values are not whole numbers: it is an image, not a label image", remedy)
    found = np.unique(values)
    if found.size and found[0] < 0:
        raise InputError(path, f"it has negative values ({found[0]:g}): it is no label image", remedy)
    if found.size > MANY or (found.size > SEVERAL and _equal_neighbors(values) < LEAST_EQUAL):
        raise InputError(
            path, f"it has {found.size} distinct values: it is an image, not a label image", remedy
        )


def _equal_neighbors(values: np.ndarray) -> float:
    """Return the share of neighbors along the first axis, background excluded, with the same value."""
    a, b = values[:-1], values[1:]
    inside = (a != 0) & (b != 0)
    return float((a == b)[inside].mean()) if inside.any() else 1.0


def check_whole_brain(values: np.ndarray, affine: np.ndarray, path: Path, table: str) -> None:
    """Refuse labels that are not those of a whole brain in a label table.

    Labels of another protocol can have the same values as the table. Whole brains have cortex and white
    matter on both sides, of similar volumes, and left structures lie left of right ones.

    Parameters
    ----------
    values : ndarray of int, shape (X, Y, Z)
        Labels; 0 is background, negative values are not scored.
    affine : ndarray, shape (4, 4)
        Affine of the voxels (RAS, mm).
    path : Path
        File, for the error message.
    table : str
        Label table.

    Raises
    ------
    InputError
        If a label is not in the table, or the labels are not plausible.
    """
    names = labels.load(table)
    counts = {int(k): int(n) for k, n in zip(*np.unique(values[values > 0], return_counts=True), strict=True)}
    unknown = sorted(set(counts) - set(names.by_index))
    how = "Give a table of your labels with --mapping (freesurfer, neuromorphometrics or a TSV file)"
    if unknown:
        other = described(fitting(counts))
        seem = f"; they seem to be {other}" if other else ""
        reason = f"the labels {shown(unknown)} are not in the label table {table}{seem}"
        raise InputError(path, reason, how)
    needed = {x.index for x in names if x.tissue in ("gm", "wm") and x.partner != x.index}
    missing = sorted(needed - set(counts))
    if len(missing) > len(needed) / 2 or not counts:
        listed = ", ".join(names[k].name for k in missing)
        reason = f"the labels {shown(counts)} are not a whole brain in the label table {table} (no {listed})"
        raise InputError(path, reason, how)
    _check_sides(values, affine, path, table, counts)


def _check_sides(
    values: np.ndarray, affine: np.ndarray, path: Path, table: str, counts: dict[int, int]
) -> None:
    """Refuse labels whose left structures lie on the right, or whose sides differ much in volume."""
    names = labels.load(table)
    pairs = [(x.index, x.partner) for x in names if x.name.startswith("Left-") and x.tissue in ("gm", "wm")]
    pairs = [(a, b) for a, b in pairs if a in counts and b in counts]
    wrong = []
    for left, right in pairs:
        if not 1 / LARGEST_RATIO < counts[left] / counts[right] < LARGEST_RATIO:
            reason = (
                f"{names[left].name} has {counts[left]} voxels and {names[right].name} {counts[right]}: "
                f"the labels do not seem to be those of the label table {table}"
            )
            raise InputError(path, reason, "Give a table of your labels with --mapping")
        at = [float(affine[0, :3] @ np.argwhere(values == k).mean(0)) for k in (left, right)]
        wrong.append(at[0] > at[1])
    if wrong and sum(wrong) > len(wrong) / 2:
        raise InputError(
            path,
            "the left structures lie on the right of the right ones",
            "Correct the orientation in the header, or exchange the labels of the sides",
        )
