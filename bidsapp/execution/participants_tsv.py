"""``participants.tsv`` of the output folder: all participants of the dataset and all columns of its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...interfaces.io import files
from ..inputs import names
from ..inputs.labels import natural
from ..inputs.participants import Demographics, Person
from ..inputs.select import ParticipantSession
from ..reports import derivatives

COLUMNS = {
    "participant_id": {"Description": "Participant of the source dataset"},
    "age": {"Description": "Age, from the source dataset", "Units": "year"},
    "sex": {"Description": "Sex, from the source dataset"},
}

GESTATIONAL = {
    "gestational_age": {
        "Description": "Gestational age at the scan, from the source dataset; n/a after birth",
        "Units": "week",
    }
}
"""Column of tables with fetal scans."""

AS_WRITTEN = "{}_source"
"""Name of a column of the study whose texts differ from the column of that name here."""


def write(out_dir: Path, bids_dir: Path, participant_sessions: Sequence[ParticipantSession] = ()) -> None:
    """Write or complete the table of participants in the output folder.

    Existing rows are kept, since the user may have edited the table; missing participants and columns of the
    study are added. Several processes may do this at once: all write the same table.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    bids_dir : Path
        The dataset.
    participant_sessions : sequence of ParticipantSession
        Participant-sessions of the run, with gestational ages.

    Raises
    ------
    BrainsegError
        If the table cannot be written.
    """
    path = out_dir / "participants.tsv"
    there = names.participants(bids_dir)
    labels = sorted((label for label in there if derivatives.KEY.fullmatch(f"sub-{label}")), key=natural)
    people = Demographics(bids_dir)
    rows = {f"sub-{label}": _row(label, people, participant_sessions) for label in labels}
    known = COLUMNS | (GESTATIONAL if any("gestational_age" in row for row in rows.values()) else {})
    study = _study_columns(people, labels, rows)
    columns, standing = _standing(path, [*known, *study])
    if "participant_id" not in columns:
        return  # not a table of participants
    added = [name for name in study if name not in columns]
    listed = {row[columns.index("participant_id")] for row in standing}
    missing = [row for name, row in rows.items() if name not in listed]
    if not (missing or added):
        return
    for cells in standing:
        row = rows.get(cells[columns.index("participant_id")], _Row())
        cells += [row[name] for name in added]
    columns += added
    lines = [columns, *standing, *([row[name] for name in columns] for row in missing)]
    files.write_text(path, "".join("\t".join(cells) + "\n" for cells in lines))
    _describe(path.with_suffix(".json"), {n: (known | study)[n] for n in columns if n in known | study})


def _describe(path: Path, columns: dict[str, Any]) -> None:
    """Write the descriptions of the columns; those that are there are kept."""
    before = derivatives.read_json(path)
    if set(columns) - set(before):
        files.write_json(path, columns | before)


def _study_columns(
    people: Demographics, labels: list[str], rows: Mapping[str, dict[str, str]]
) -> dict[str, dict[str, Any]]:
    """Return the columns of the study beside ours with their descriptions, and put their cells into the rows.

    A column named like one of ours is kept under another name if its texts differ, such as ages in months.
    """
    sources = {label: people.row(label) for label in labels}
    out: dict[str, dict[str, Any]] = {}
    for name in (name for name in people.columns if people.people and name != people.id_column):
        ours = name.lower() if name.lower() in COLUMNS | GESTATIONAL else ""
        cells = {label: " ".join(sources[label].get(name, "").split()) or "n/a" for label in labels}
        if ours and all(cells[label] in (rows[f"sub-{label}"][ours], "n/a") for label in labels):
            continue
        kept = AS_WRITTEN.format(name) if ours else name
        said = f"{name}, the text as in the source dataset" if ours else f"{name}, from the source dataset"
        out[kept] = people.descriptions.get(name) or {"Description": said}
        for label in labels:
            rows[f"sub-{label}"][kept] = cells[label]
    return out


def _standing(path: Path, known: Iterable[str]) -> tuple[list[str], list[list[str]]]:
    """Return the columns of the table that is there (a new one has those known), and its rows."""
    if not path.exists():
        return list(known), []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        return [], []
    columns, *rows = [line.split("\t") for line in lines if line] or [[]]
    return columns, [[*row[: len(columns)], *["n/a"] * (len(columns) - len(row))] for row in rows]


class _Row(dict):
    """A row; other columns are n/a."""

    def __missing__(self, name: str) -> str:
        return "n/a"


def _row(
    label: str, people: Demographics, participant_sessions: Sequence[ParticipantSession]
) -> dict[str, str]:
    person = people(label, None)
    row = _Row(participant_id=f"sub-{label}")
    weeks = _gestation(person, [ps for ps in participant_sessions if ps.participant == label])
    if weeks is not None:
        row["gestational_age"] = f"{weeks:g}"
    elif person.age is not None:
        row["age"] = f"{person.age:g}"
    if person.sex is not None:
        row["sex"] = " ".join(person.sex.split())
    return row


def _gestation(person: Person, participant_sessions: list[ParticipantSession]) -> float | None:
    """Return the gestational age of a fetus (weeks); None if the scans have several."""
    found = {ps.gestational_age for ps in participant_sessions if ps.problem is None}
    if found:
        return found.pop() if len(found) == 1 else None
    # Together with an age after birth, the gestational age is the age at birth.
    return person.weeks if person.age is None else None
