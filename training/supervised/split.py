"""The split of cases: training, validation and test, by participant, in a file (TSV) or made and kept."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from ...models.errors import UsageError
from ...models.io import atomic
from .cases import Case

PARTS = ("training", "validation", "test")
"""Parts: what trains, what chooses the weights, and what is left for the final score."""

NAME = "split.tsv"
"""File of the split in the folder of a run."""

FEW = 5
"""Number of participants below which none is kept for a test."""


def of(
    cases: Sequence[Case], out: Path, given: Path | None = None, *, folds: int = 0, fold: int = 0
) -> dict[str, list[Case]]:
    """Return the cases by part, and write the split into the folder of the run.

    Parameters
    ----------
    cases : sequence of Case
        All cases.
    out : Path
        Folder of the run; the split there is used again.
    given : Path, optional
        Split (TSV) with the columns ``case`` and ``part``.
    folds, fold : int
        Number of folds, and the number of the one that validates (from 1); the test cases stay apart.

    Raises
    ------
    UsageError
        If a case has no part, a part is unknown, or none is left to train.
    """
    path = given or (out / NAME if (out / NAME).is_file() else None)
    parts = _read(path, cases) if path else _made(cases)
    if folds:
        parts = _folded(parts, cases, folds, fold)
    found = {part: [case for case in cases if parts.get(case.name) == part] for part in PARTS}
    if not found["training"]:
        raise UsageError(path, "no case is left to train", "Give more cases, or another split")
    mixed = {c.participant for c in found["training"]} & {
        c.participant for part in PARTS[1:] for c in found[part]
    }
    if mixed:
        reason = f"{sorted(mixed)[0]} is in training and in another part"
        raise UsageError(
            path, reason, "Keep all cases of a participant in one part: else a score means nothing"
        )
    lines = ["case\tparticipant\tpart"]
    lines += [f"{case.name}\t{case.participant}\t{parts.get(case.name, 'unused')}" for case in cases]
    atomic.write_text(out / NAME, "\n".join(lines) + "\n")
    return found


def _read(path: Path, cases: Sequence[Case]) -> dict[str, str]:
    rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    if not rows or not {"case", "part"} <= set(rows[0]):
        raise UsageError(path, "the split has no columns case and part", "Write one line for each case")
    parts = {row["case"]: row["part"] for row in rows}
    for name, part in parts.items():
        if part not in (*PARTS, "unused"):
            raise UsageError(path, f"unknown part {part!r} of {name}", f"Use {', '.join(PARTS)} or unused")
    missing = [case.name for case in cases if case.name not in parts]
    if missing:
        reason = f"{len(missing)} cases have no part, such as {missing[0]}"
        raise UsageError(path, reason, "Add them; with the part unused they are left out")
    return parts


def _made(cases: Sequence[Case]) -> dict[str, str]:
    """Return a split of participants in name order: of five, one validates and one is for the test."""
    names = sorted({case.participant for case in cases})
    if len(names) < 2:
        part_of = dict.fromkeys(names, "training")
    elif len(names) < FEW:
        part_of = dict.fromkeys(names, "training") | {names[-1]: "validation"}
    else:
        part_of = {
            name: ("validation" if k % 5 == 2 else "test" if k % 5 == 4 else "training")
            for k, name in enumerate(names)
        }
    return {case.name: part_of[case.participant] for case in cases}


def _folded(parts: dict[str, str], cases: Sequence[Case], folds: int, fold: int) -> dict[str, str]:
    """Return the split of a fold: its participants validate, those of the other folds train."""
    if not 1 <= fold <= folds:
        raise UsageError(None, f"there is no fold {fold} of {folds}", f"Give --fold 1 to {folds}")
    names = sorted({case.participant for case in cases if parts.get(case.name) in PARTS[:2]})
    if len(names) < folds:
        raise UsageError(None, f"{len(names)} participants cannot be {folds} folds", "Give fewer folds")
    validates = set(names[fold - 1 :: folds])
    return {
        case.name: parts[case.name]
        if parts.get(case.name) not in PARTS[:2]
        else ("validation" if case.participant in validates else "training")
        for case in cases
    }
