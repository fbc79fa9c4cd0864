"""``participants.tsv`` of the output folder: everyone whom the dataset holds, so that nobody is forgotten."""

from __future__ import annotations

from pathlib import Path

from . import results
from .dataset import natural
from .demographics import Demographics

COLUMNS = {
    "participant_id": {"Description": "Participant of the source dataset"},
    "age": {"Description": "Age, from the source dataset", "Units": "year"},
    "sex": {"Description": "Sex, from the source dataset"},
}


def write(out_dir: Path, bids_dir: Path) -> None:
    """List the dataset's participants in the output folder.

    What stands there already is kept as it is, and who is not yet listed is added: the table may be
    someone's own. Several processes may do this at once, for they all write the same.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    bids_dir : Path
        The dataset.

    Raises
    ------
    BrainsegError
        If the table cannot be written.
    """
    from ..interfaces import files

    path = out_dir / "participants.tsv"
    there = {folder.name.removeprefix("sub-") for folder in bids_dir.glob("sub-*") if folder.is_dir()}
    labels = sorted((label for label in there if results.KEY.fullmatch(f"sub-{label}")), key=natural)
    lines, columns, listed = _standing(path)
    if "participant_id" not in columns:
        return  # not a table that we could add to
    people = Demographics(bids_dir)
    missing = [label for label in labels if f"sub-{label}" not in listed]
    if not missing:
        return
    lines += ["\t".join(_row(label, people)[name] for name in columns) for label in missing]
    files.write_text(path, "\n".join(lines) + "\n")
    described = path.with_suffix(".json")
    if not described.exists():
        files.write_json(described, COLUMNS)


def _standing(path: Path) -> tuple[list[str], list[str], set[str]]:
    """Lines of the table as it stands, its columns, and who is listed."""
    if not path.exists():
        return ["\t".join(COLUMNS)], list(COLUMNS), set()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        return [], [], set()
    columns = lines[0].split("\t") if lines else []
    return lines, columns, {str(row.get("participant_id")) for row in results.read_tsv(path)}


class _Row(dict):
    """A row of which nothing else is known."""

    def __missing__(self, name: str) -> str:
        return "n/a"


def _row(label: str, people: Demographics) -> dict[str, str]:
    person = people(label, None)
    row = _Row(participant_id=f"sub-{label}")
    if person.age is not None:
        row["age"] = f"{person.age:g}"
    if person.sex is not None:
        row["sex"] = " ".join(person.sex.split())
    return row
