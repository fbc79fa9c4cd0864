"""Tables of a dataset as people write them: encodings, separators, quotes, and names of columns."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from itertools import dropwhile
from pathlib import Path

from . import texts

SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}

IDS = {
    "participant": ("participantid", "participant", "participantlabel", "subjectid", "subject", "sub", "id"),
    "session": ("sessionid", "session", "sessionlabel", "ses", "visit", "visitid"),
}
"""Names of the columns of participants and of sessions, in letters only."""

ELSEWHERE = ("{stem}.csv", "{stem}.txt", "{stem}.xlsx")
"""Names of tables that are not BIDS names."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    columns : list of str
        Names of the columns, as written.
    rows : list of dict of str to str
        Cells by column; without surrounding blanks and quotes.
    notes : list of str
        What was guessed to read it.
    found : bool
        Whether there is such a table.
    """

    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    found: bool = False

    def column(self, kind: str) -> str | None:
        """Return the name of the column of the ``participant`` or ``session``; None if there is none."""
        plain = {letters(column): column for column in reversed(self.columns)}
        return next((plain[name] for name in IDS[kind] if name in plain), None)


def read(path: Path) -> Table:
    """Return a table; a missing or damaged one is empty.

    Parameters
    ----------
    path : Path
        Where BIDS wants it, such as ``participants.tsv``; a CSV file beside that place is read too.
    """
    notes = []
    if not path.exists():
        names = (path.with_name(name.format(stem=path.stem)) for name in ELSEWHERE)
        other = next((name for name in names if name.is_file()), None)
        if other is None:
            return Table()
        if other.suffix == ".xlsx":
            note = f"{other.name} is not read: save it as {path.name}, text with columns separated by tabs."
            return Table(notes=[note], found=True)
        notes.append(f"There is no {path.name}; {other.name} was read.")
        path = other
    try:
        text, encoding = texts.read(path)
    except OSError as error:
        return Table(notes=[f"{path.name} cannot be read ({error.strerror})."], found=True)
    lines = [line for line in text.replace("\0", "").splitlines() if line.strip()]
    lines = list(dropwhile(lambda line: line.startswith("#"), lines))
    if not lines:
        return Table(notes=[*notes, f"{path.name} is empty."], found=True)
    separator = next((mark for mark in SEPARATORS if mark in lines[0]), None)
    notes += [encoding] if encoding else []
    if separator in (";", ","):
        notes.append(f"The columns of {path.name} are separated by {SEPARATORS[separator]}, not by tabs.")
    columns, *cells = _cells(lines, separator)
    rows = [dict(zip(columns, row, strict=False)) for row in cells]
    return Table(
        [c for c in columns if c], [{c: r.get(c, "") for c in columns if c} for r in rows], notes, True
    )


def letters(name: str) -> str:
    """Return the letters of a name, in lower case.

    Examples
    --------
    >>> letters("Participant ID"), letters("age_at_scan (months)")
    ('participantid', 'ageatscanmonths')
    """
    return re.sub(r"[^a-z]+", "", name.lower())


def plain(label: str) -> str:
    """Return what two ways to write a label share: no prefix, no leading zeros, no case.

    Examples
    --------
    >>> [plain(text) for text in ("sub-01", "1", "1.0", "SUB_001", "Pat01")]
    ['1', '1', '1', '1', 'pat01']
    """
    text = re.sub(r"^(?:sub|ses)(?:[-_ ]|(?=\d))", "", label.strip().casefold())
    text = re.sub(r"^(\d+)\.0+$", r"\1", text)
    return text.lstrip("0") or "0" if text.isdigit() else text


def _cells(lines: list[str], separator: str | None) -> list[list[str]]:
    """Return the cells of each line."""
    if separator is None:
        split = [line.split() for line in lines]
        alike = len({len(row) for row in split}) == 1
        return split if alike else [[_bare(line)] for line in lines]
    if separator == "\t":  # BIDS has no quotes: one within a cell means itself
        return [[_bare(cell) for cell in line.split("\t")] for line in lines]
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator)]


def _bare(cell: str) -> str:
    cell = cell.strip()
    quoted = len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "\"'"
    return cell[1:-1].strip() if quoted else cell
