"""Volumes in further forms: as fractions of the intracranial volume, asymmetries, and one long table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ....models.population.labels import Label
from .. import label_tables
from ..derivatives import Result
from . import tables

ASYMMETRY, LONG = "group_asymmetry.tsv", "group_volumes_long.tsv"
FRACTIONS = "group_fractions.tsv"

FORMULA = "100 * (L - R) / ((L + R) / 2)"
"""The asymmetry index (%) of the volumes of a left (L) and a right (R) structure."""

DESCRIBED: dict[str, dict[str, Any]] = {
    "index": {"Description": "Label, as in desc-aseg_dseg; n/a for whole volumes and totals"},
    "name": {"Description": "Structure, total, brain or intracranial, as the columns of group_volumes.tsv"},
    "hemisphere": {
        "Description": "Side of the structure; n/a if it has none",
        "Levels": {"L": "Left", "R": "Right"},
    },
    "volume_mm3": {"Description": "Volume; sum of probabilities", "Units": "mm^3"},
    "volume_low_mm3": {"Description": "Lower end of the 95 % interval of the volume", "Units": "mm^3"},
    "volume_high_mm3": {"Description": "Upper end of the 95 % interval of the volume", "Units": "mm^3"},
}


def asymmetry(left: float | None, right: float | None) -> float | None:
    """Return the asymmetry index (%) of two volumes: positive if the left one is larger.

    It is None if one volume is unknown or both are zero.

    Examples
    --------
    >>> asymmetry(4200.0, 3800.0), asymmetry(0.0, 0.0), asymmetry(1.0, None)
    (10.0, None, None)
    """
    if left is None or right is None or left + right <= 0:
        return None
    return round(100 * (left - right) / ((left + right) / 2), 2)


def write(out_dir: Path, results: list[Result], about: dict[str, list[Any]]) -> None:
    """Write the tables of fractions and asymmetries, and the long one; remove what has no row or column.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    results : list of Result
        All participant-sessions.
    about : dict of str to list
        Columns about the participant-session.
    """
    _write_fractions(out_dir / FRACTIONS, results, about)
    _write_asymmetry(out_dir / ASYMMETRY, results, about)
    if any(result.volumes for result in results):
        tables.write_table(out_dir / LONG, _long(results, about), DESCRIBED)
    else:
        tables.remove(out_dir / LONG)


def _write_fractions(path: Path, results: list[Result], about: dict[str, list[Any]]) -> None:
    """Write volumes divided by the intracranial volume; without any of them remove the table."""
    whole = [result.volumes.get("intracranial") for result in results]
    if not any(whole):
        tables.remove(path)
        return
    names = [name for name in tables.volume_columns(results) if name != "intracranial"]
    cells: dict[str, list[Any]] = {
        name: [fraction(result.volumes.get(name), all_) for result, all_ in zip(results, whole, strict=True)]
        for name in names
    }
    words = "Volume of {} divided by the intracranial volume of the same image; n/a without one"
    described = {name: {"Description": words.format(name)} for name in names}
    tables.write_table(path, about | cells, described)


def fraction(volume: float | None, whole: float | None) -> float | None:
    """Return a volume as a fraction of another one; None if one is unknown.

    Examples
    --------
    >>> fraction(600.0, 1500.0), fraction(600.0, None)
    (0.4, None)
    """
    return None if volume is None or not whole else round(volume / whole, 6)


def _write_asymmetry(path: Path, results: list[Result], about: dict[str, list[Any]]) -> None:
    known = {name for result in results for name in result.volumes}
    every = label_tables.every()
    cells: dict[str, list[Any]] = {}
    described: dict[str, dict[str, Any]] = {}
    for left in every:
        right = every.by_index.get(left.partner)
        if right is None or _side(left) != "L" or not {left.name, right.name} & known:
            continue
        column = f"{left.name.removeprefix('Left-')}_asymmetry"
        cells[column] = [asymmetry(r.volumes.get(left.name), r.volumes.get(right.name)) for r in results]
        words = f"Asymmetry index, {FORMULA}, with L the volume of {left.name} and R that of {right.name}"
        described[column] = {"Description": words, "Formula": FORMULA, "Units": "percent"}
    if cells:
        tables.write_table(path, about | cells, described)
    else:
        tables.remove(path)


def _side(label: Label) -> str | None:
    """Return the side of a structure, ``L`` or ``R``; None for one in the middle."""
    if label.partner == label.index:
        return None
    return "L" if label.name.startswith("Left-") else "R"


def _long(results: list[Result], about: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the columns of the long table: a row for every volume of a participant-session."""
    who = [name for name in ("participant_id", "session_id") if name in about]
    known = {label.name: label for label in label_tables.every()}
    ordered = tables.volume_columns(results)
    out: dict[str, list[Any]] = {name: [] for name in (*who, *DESCRIBED)}
    for number, result in enumerate(results):
        for name in (name for name in ordered if name in result.volumes):
            label = known.get(name)
            ends = result.intervals.get(name, (None, None))
            row = (
                *(about[w][number] for w in who),
                label.index if label else None,
                name,
                _side(label) if label else None,
                *map(tables.rounded, (result.volumes[name], *ends)),
            )
            for column, value in zip(out, row, strict=True):
                out[column].append(value)
    return out
