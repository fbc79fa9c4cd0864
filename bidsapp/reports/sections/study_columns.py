"""Columns of the study beside the results: in tables, as groups of the page, and a table by group."""

from __future__ import annotations

import json
import statistics
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ....models.errors import UsageError
from ....models.io.atomic import write_text
from .. import derivatives
from ..derivatives import Result

OURS = ("participant_id", "session_id", "session", "age", "gestational_age", "sex")
"""Columns of the tables of a dataset that other columns here say."""

MOST_GROUPS = 12
"""Values of a column of the study that are shown as groups, at most."""


def study(results: list[Result]) -> dict[str, dict[str, str]]:
    """Return the other columns of the study's tables: cells by key, by name of the column.

    Cells of a session come from its status file, all others from ``participants.tsv``, which a user may edit.
    Columns without any cell are left out.
    """
    rows = derivatives.read_tsv(results[0].out_dir / "participants.tsv") if results else []
    table = {str(row.get("participant_id")): row for row in rows}
    out: dict[str, dict[str, str]] = {name: {} for name in (rows[0] if rows else ())}
    for result in results:
        own = result.status.get("columns")
        own = own if isinstance(own, dict) else {}
        for name, cell in (table.get(f"sub-{result.participant}", {}) | own).items():
            if str(cell).strip() not in ("", "n/a"):
                out.setdefault(str(name), {})[result.key] = " ".join(str(cell).split())
    return {name: cells for name, cells in out.items() if cells and name.lower() not in OURS}


def groups_and_numbers(results: list[Result]) -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Return the columns of the study with 2 to ``MOST_GROUPS`` values, and those of numbers only."""
    groups, numbers = {}, {}
    for name, cells in study(results).items():
        values = set(cells.values())
        if 1 < len(values) <= MOST_GROUPS:
            groups[name] = cells
        if len(values) > 2 and all(derivatives.number(value) is not None for value in values):
            numbers[name] = cells
    return groups, numbers


SUMMARY = {
    "measure": "Volume, as in group_volumes.tsv",
    "n": "Number of participant-sessions",
    "n_participants": "Number of participants; it is less than n where some have several sessions",
    "mean": "Mean (mm^3)",
    "sd": "Standard deviation (mm^3); n/a for one",
    "median": "Median (mm^3)",
    "min": "Smallest (mm^3)",
    "max": "Largest (mm^3)",
}
"""Columns of ``group_summary.tsv`` after that of the groups."""


SUMMARY_FILE = "group_summary.tsv"


def check(out_dir: Path, column: str, about: Collection[str]) -> None:
    """Check that there is a column to sum up by.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    column : str
        Its name (``--group-by``).
    about : collection of str
        Names of the columns about the participant-sessions.

    Raises
    ------
    UsageError
        If there is no such column.
    """
    if column not in about:
        listed = ", ".join(f"'{name}'" for name in about if name not in ("participant_id", "state"))
        remedy = f"There are {listed}" if listed else "participants.tsv has no further columns"
        raise UsageError(out_dir, f"--group-by: there is no column {column!r}", remedy)


def write_summary(
    out_dir: Path, column: str | None, about: dict[str, list[Any]], volumes: list[dict[str, float]]
) -> None:
    """Write ``group_summary.tsv``: every volume for each value of a column; without a column remove it.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    column : str or None
        Name of a column of ``group_volumes.tsv`` (``--group-by``).
    about : dict of str to list
        Columns about the participant-sessions.
    volumes : list of dict
        Volumes (mm3) of the participant-sessions by name.

    Raises
    ------
    UsageError
        If there is no such column.
    """
    path = out_dir / SUMMARY_FILE
    for old in (path, path.with_suffix(".json")):
        old.unlink(missing_ok=True)
    if column is None:
        return
    check(out_dir, column, about)
    lines = ["\t".join([column, *SUMMARY])]
    by_group: dict[str, list[tuple[Any, dict[str, float]]]] = {}
    for cell, person, found in zip(about[column], about["participant_id"], volumes, strict=True):
        by_group.setdefault(str(cell or "n/a"), []).append((person, found))
    for group, mine in sorted(by_group.items()):
        for name in dict.fromkeys(name for _, found in mine for name in found):
            values = [found[name] for _, found in mine if name in found]
            people = len({person for person, found in mine if name in found})
            spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "n/a"
            numbers = [statistics.median(values), min(values), max(values)]
            cells = [group, name, str(len(values)), str(people), f"{statistics.fmean(values):.2f}", spread]
            lines.append("\t".join([*cells, *(f"{number:.2f}" for number in numbers)]))
    write_text(path, "\n".join(lines) + "\n")
    described = {column: {"Description": "Group"}} | {n: {"Description": d} for n, d in SUMMARY.items()}
    write_text(path.with_suffix(".json"), json.dumps(described, indent=2) + "\n")


def repeated(out_dir: Path) -> str:
    """Return a note on a summary in which participants count more than once; empty without one.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    """
    rows = derivatives.read_tsv(out_dir / SUMMARY_FILE)
    if all(row.get("n") == row.get("n_participants") for row in rows):
        return ""
    return (
        f"{SUMMARY_FILE}: some participants have several sessions, and each counts in n, mean and SD, "
        "which are not of independent values there (column n_participants)"
    )
