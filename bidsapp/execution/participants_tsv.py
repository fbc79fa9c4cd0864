"""``participants.tsv`` of the output folder: all participants of the dataset, processed or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...interfaces.io import files
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


def write(out_dir: Path, bids_dir: Path, participant_sessions: Sequence[ParticipantSession] = ()) -> None:
    """Write or complete the table of participants in the output folder.

    Existing rows are kept, since the user may have edited the table; missing participants are added.
    Several processes may do this at once: all write the same table.

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
    there = {folder.name.removeprefix("sub-") for folder in bids_dir.glob("sub-*") if folder.is_dir()}
    labels = sorted((label for label in there if derivatives.KEY.fullmatch(f"sub-{label}")), key=natural)
    people = Demographics(bids_dir)
    rows = {f"sub-{label}": _row(label, people, participant_sessions) for label in labels}
    known = COLUMNS | (GESTATIONAL if any("gestational_age" in row for row in rows.values()) else {})
    lines, columns, listed = _standing(path, known)
    if "participant_id" not in columns:
        return  # not a table of participants
    missing = [row for name, row in rows.items() if name not in listed]
    if not missing:
        return
    lines += ["\t".join(row[name] for name in columns) for row in missing]
    files.write_text(path, "\n".join(lines) + "\n")
    described = path.with_suffix(".json")
    if not described.exists():
        files.write_json(described, COLUMNS | {n: known[n] for n in known if n in columns})


def _standing(path: Path, known: Iterable[str]) -> tuple[list[str], list[str], set[str]]:
    """Return the lines of the table (a new one has a header only), its columns and its participants."""
    if not path.exists():
        return ["\t".join(known)], list(known), set()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        return [], [], set()
    columns = lines[0].split("\t") if lines else []
    return lines, columns, {str(row.get("participant_id")) for row in derivatives.read_tsv(path)}


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
