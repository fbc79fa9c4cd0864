"""Age, sex and other columns from ``participants.tsv``, ``*_sessions.tsv`` and ``*_scans.tsv``."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...models.population.age_parsing import (
    CODE,
    MISSING,
    YEAR,
    is_age,
    is_before_birth,
    is_binned,
    is_gestational,
    is_unclear,
    unit_of,
    weeks,
    weeks_in,
    years,
    years_in,
)
from ...models.population.populations import WEEKS
from . import names, tables, texts
from .tables import Table, plain

TABLE = "participants.tsv"

BARE = re.compile(r"-?\d*[.,]?\d+")
"""Numbers without a unit."""


@dataclass(frozen=True)
class Person:
    """Age and sex of a participant (in a session) in the tables.

    Attributes
    ----------
    age : float or None
        Years.
    sex : str or None
        As written.
    weeks : float or None
        Gestational age: at the scan, or at birth if there is an age after birth as well.
    maybe : float or None
        Age in weeks that is gestational if the scan was before birth: an age in weeks or days, ``scan_age``.
    unread : str or None
        A note on an age that could not be read.
    said : str or None
        A note on an age that was taken from another row.
    fetal : bool
        Whether the tables have gestational ages and no ages after birth.
    written : str
        The age with its unit, as written in the table; empty if it is from several columns.
    """

    age: float | None = None
    sex: str | None = None
    weeks: float | None = None
    maybe: float | None = None
    unread: str | None = None
    said: str | None = None
    fetal: bool = False
    written: str = ""

    def age_in(self, unit: str) -> float | None:
        """Return the age at the scan of a participant of a population.

        Parameters
        ----------
        unit : str
            Age unit of the population: in gestational weeks the age in years is the mother's, in years
            the gestational age is that at birth.
        """
        if unit != WEEKS:
            return self.age
        return self.weeks if self.weeks is not None else self.maybe


class Demographics:
    """The tables of a dataset; a missing or damaged table counts as empty.

    Parameters
    ----------
    root : Path
        The dataset.

    Attributes
    ----------
    people : dict of str to list of dict
        Rows of ``participants.tsv`` by the label in it.
    columns : list of str
        Its columns, as written.
    id_column : str or None
        The one with the labels of the participants.
    descriptions : dict of str to dict
        Their descriptions in ``participants.json``.
    notes : list of str
        What was guessed or not understood, for the log.
    found : bool
        Whether there are tables.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.descriptions = _described(root / "participants.json")
        self.units = _units(self.descriptions)
        self.session_units = self.units | _units(_described(root / "sessions.json"))
        table = tables.read(root / TABLE)
        self.found, self.columns, self.notes = table.found, table.columns, list(table.notes)
        self._session = table.column("session")
        self.people: dict[str, list[dict[str, str]]] = {}
        self.id_column = name = table.column("participant")
        if table.rows and name is None:
            self.notes.append(f"No column of {TABLE} names the participants (participant_id): not used.")
        written: dict[str, str] = {}
        for row in table.rows if name else ():
            label = _label(row[name or ""])
            self.people.setdefault(label, []).append(row)
            written.setdefault(label, row[name or ""])
        self.ages = _has_ages(table.rows, self.units)
        self._labels = self._match(names.participants(root), written)
        self.notes += self._without_folder() + self._in_words()
        self._known: dict[tuple[str, str | None], Person] = {}

    def __call__(self, participant: str, session: str | None) -> Person:
        """Return age and sex; the tables of the sessions and scans come first."""
        key = participant, session
        if key in self._known:
            return self._known[key]
        person, fetal = self._listed(participant, session), self.ages
        for rows, mine, units in (self._of_scans(*key), self._of_session(*key)):
            self.found = self.found or bool(rows)
            person = _merged(_person(mine, units), person)
            found = _has_ages(rows, units)
            fetal = fetal[0] or found[0], fetal[1] or found[1]
        self._known[key] = replace(person, fetal=fetal == (True, False))
        return self._known[key]

    @property
    def without_folder(self) -> set[str]:
        """Labels in the table of participants who have no folder."""
        return {label for label in self.people if label} - set(self._labels.values())

    def row(self, participant: str) -> dict[str, str]:
        """Return the cells of a participant in ``participants.tsv``, without those that differ by row."""
        rows = self._rows(participant)
        return {name: rows[0][name] for name in self.columns if rows and len({r[name] for r in rows}) == 1}

    def session_row(self, participant: str, session: str | None) -> dict[str, str]:
        """Return the cells of a session, from its own table and from rows that differ by session."""
        rows, shared = self._rows(participant), self.row(participant)
        mine = [row for row in rows if self._of(row) and self._of(row) == plain(session or "")]
        out = {name: cell for name, cell in (mine or [{}])[-1].items() if name not in shared}
        return out | self._of_session(participant, session)[1]

    def _without_folder(self) -> list[str]:
        """Return a note on rows of participants who have no folder."""
        found = sorted(self.without_folder)
        listed = ", ".join(f"sub-{label}" for label in found[:3]) + (", ..." if len(found) > 3 else "")
        return (
            [f"{TABLE} lists participants without a folder, left out ({len(found)}): {listed}."]
            if found
            else []
        )

    def _in_words(self) -> list[str]:
        """Return a note on ages that are no bare numbers, such as ``90+``."""
        found: dict[str, float] = {}
        for column in filter(is_age, self.columns):
            own = self.units.get(column.lower(), "")
            unit = years_in(own) or years_in(unit_of(column)) or 1.0
            cells = (
                [] if is_before_birth(own) else [row[column] for rows in self.people.values() for row in rows]
            )
            for text in cells:
                if not BARE.fullmatch(text) and (age := years(text, unit)) is not None:
                    found.setdefault(text, age)
        listed = ", ".join(f"{text!r} as {age:.3g}" for text, age in [*found.items()][:3])
        more = ", ..." if len(found) > 3 else ""
        return [f"Ages in {TABLE} were read as years: {listed}{more}."] if found else []

    def _match(self, folders: list[str], written: dict[str, str]) -> dict[str, str]:
        """Return the label in the table for each folder: the same, or else the only one that is like it."""
        out = {folder: folder for folder in folders if folder in self.people}
        counts, rows = Counter(map(plain, folders)), defaultdict(list)
        for label in self.people:
            rows[plain(label)].append(label)
        for folder in folders:
            alike = rows[plain(folder)]
            if folder not in out and len(alike) == 1 == counts[plain(folder)]:
                out[folder] = alike[0]
        guessed = [folder for folder, label in out.items() if written[label] != f"sub-{folder}"]
        if guessed:
            more = f" and {len(guessed) - 1} more" if len(guessed) > 1 else ""
            first = written[out[guessed[0]]]
            self.notes.append(f"{first!r} in {TABLE} was taken as sub-{guessed[0]}{more}.")
        return out

    def _rows(self, participant: str) -> list[dict[str, str]]:
        return self.people.get(self._labels.get(participant, participant), [])

    def _of(self, row: dict[str, str]) -> str:
        """Return the session of a row; empty if it is of no session."""
        text = row.get(self._session or "", "")
        return "" if text.lower() in MISSING else plain(text)

    def _listed(self, participant: str, session: str | None) -> Person:
        """Return the values in ``participants.tsv``, which may have a row for each session."""
        rows = self._rows(participant)
        mine = [row for row in rows if self._of(row) in (plain(session or ""), "")]
        exact = [row for row in mine if self._of(row)]
        people = [_person(row, self.units) for row in exact or mine or rows or [{}]]
        person = people[-1]
        if len({(p.age, p.weeks) for p in people}) > 1:
            several = f"{TABLE} has {len(people)} rows for sub-{participant} with different ages"
            unread = f"{several}, and no column session_id says which one to use: none was used."
            return replace(person, age=None, weeks=None, maybe=None, unread=unread)
        if mine or not rows or session is None:
            return person
        # A fetus has another age in another session.
        person = replace(person, weeks=None, maybe=None)
        if person.age is None:
            return person
        other = f"{TABLE} has no row for ses-{session}: the age is that of another session."
        return replace(person, said=other)

    def _of_session(
        self, participant: str, session: str | None
    ) -> tuple[list[dict[str, str]], dict[str, str], dict[str, str]]:
        """Return the rows of the table of sessions, that of this session, and the units."""
        folder = self.root / f"sub-{participant}"
        table = tables.read(folder / f"sub-{participant}_sessions.tsv") if session is not None else Table()
        if not table.rows:
            return [], {}, self.session_units
        units = self.session_units | _units(_described(folder / f"sub-{participant}_sessions.json"))
        name = table.column("session") or ""
        mine = [row for row in table.rows if _label(row.get(name)) == session]
        mine = mine or [row for row in table.rows if plain(row.get(name, "")) == plain(session or "")]
        return table.rows, mine[-1] if mine else {}, units

    def _of_scans(
        self, participant: str, session: str | None
    ) -> tuple[list[dict[str, str]], dict[str, str], dict[str, str]]:
        """Return the rows of anatomical scans in their table, the first with an age, and the units."""
        parts = [f"sub-{participant}", *([f"ses-{session}"] if session is not None else [])]
        path = self.root.joinpath(*parts, f"{'_'.join(parts)}_scans.tsv")
        table = tables.read(path) if path.is_file() else Table()
        files = next((name for name in table.columns if name.lower() == "filename"), "")
        rows = [row for row in table.rows if re.match(r"(?:ses-[^/]+/)?anat/", row.get(files, ""))]
        units = _units(_described(self.root / "scans.json")) | _units(_described(path.with_suffix(".json")))
        found = [row for row in rows if (p := _person(row, units)).age is not None or p.weeks is not None]
        return rows, found[0] if found else {}, units


def _person(row: dict[str, str], units: dict[str, str]) -> Person:
    """Return age and sex in a row."""
    row = {name.lower(): cell for name, cell in row.items()}
    sex = next((row[name] for name in ("sex", "gender") if row.get(name)), None)
    age, unread = _age(row, units)
    gestation, unread_weeks = _gestation(row, units)
    maybe = next((w for c in row if is_unclear(c) and (w := _weeks(row, c, units)) is not None), None)
    if is_before_birth(units.get("age", "")):
        age, gestation = None, gestation if gestation is not None else _weeks(row, "age", units)
        unread = unread_weeks
    elif "age" in row and (units.get("age", "").startswith(("week", "day")) or _in_weeks(row["age"])):
        maybe = _weeks(row, "age", units)
    unread = unread_weeks or (unread if age is None else None)
    written = _written(row, units, age) if age is not None else ""
    return Person(age, None if sex in (None, "n/a") else sex, gestation, maybe, unread, written=written)


def _written(row: dict[str, str], units: dict[str, str], age: float) -> str:
    """Return an age as written, with its unit; empty if no column alone says it."""
    for column in filter(is_age, row):
        unit = _unit(column, units)
        if years(row[column], unit) == age:
            name = next(word for word, each in YEAR.items() if each == unit)
            plural = "s" * (row[column] != "1")
            bare = BARE.fullmatch(row[column]) is not None
            return f"{row[column].replace(',', '.')} {name}{plural}" if bare else row[column]
    return ""


def _unit(column: str, units: dict[str, str]) -> float:
    """Return the years in the unit of a column."""
    return years_in(units.get(column, "")) or years_in(unit_of(column)) or YEAR["year"]


def _age(row: dict[str, str], units: dict[str, str]) -> tuple[float | None, str | None]:
    """Return the age after birth (years), or else a note on a value that could not be read."""
    unread: str | None = None
    found: dict[float, float] = {}
    for column in sorted(filter(is_age, row), key=lambda name: name != "age"):
        unit = _unit(column, units)
        if (age := years(row[column], unit)) is not None:
            found.setdefault(unit, age)
        if row[column].lower() not in MISSING and not CODE.fullmatch(row[column]):
            said = f"The {column} of {row[column]!r} could not be read"
            unread = f"{said}; write years, such as 34.5, or the unit too, such as 6 months."
            if _in_weeks(row[column]):
                unread += " A gestational age belongs in a column gestational_age."
    if found:
        age, months = next(iter(found.values())), found.get(1 / 12, 1.0)
        # whole years in one column, and the months beyond them in another
        return (age + months if age % 1 == 0 and months < 1 else age), None
    for column in filter(is_binned, row):
        unit = _unit(column, units)
        is_range = re.search(r"\d\s*(-|–|to)\s*\d", row[column])  # a number alone is that of a group
        if is_range and (age := years(row[column], unit)) is not None:
            return age, None
    return None, unread


def _in_weeks(text: str) -> bool:
    """Return whether an age is written in weeks or days, as gestational ages are."""
    return bool(re.search(r"\d\s*(w|d)|\d\+\d", text.lower()))


def _gestation(row: dict[str, str], units: dict[str, str]) -> tuple[float | None, str | None]:
    """Return the gestational age, or else a note on a value that could not be read."""
    unread = None
    for column in filter(is_gestational, row):
        if (found := _weeks(row, column, units)) is not None:
            return found, None
        if row[column].lower() not in MISSING:
            unread = f"The {column} of {row[column]!r} could not be read; write weeks, such as 28.4 or 28+3."
    return None, unread


def _weeks(row: dict[str, str], column: str, units: dict[str, str]) -> float | None:
    return weeks(row[column], weeks_in(units.get(column, ""), column)) if column in row else None


def _merged(own: Person, person: Person) -> Person:
    """Merge the tables of sessions and participants; the former comes first."""
    known = own if own.age is not None or own.weeks is not None else person
    maybe = own.maybe if own.maybe is not None else known.maybe
    return replace(known, sex=own.sex or person.sex, maybe=maybe, unread=own.unread or known.unread)


def _has_ages(rows: list[dict[str, str]], units: dict[str, str]) -> tuple[bool, bool]:
    """Return whether a table has gestational ages, and whether it has an age after birth."""
    # A column "ga" without any age may mean something else.
    named = any(c.lower().startswith("gestational") for c in filter(is_gestational, rows[0] if rows else ()))
    people = [_person(row, units) for row in rows]
    return named or any(p.weeks is not None for p in people), any(p.age is not None for p in people)


def _label(text: str | None) -> str:
    """Return a label without ``sub-`` or ``ses-``."""
    name = text or ""
    return name.partition("-")[2] if name[:4] in ("sub-", "ses-") else name


def _described(path: Path) -> dict[str, dict[str, Any]]:
    """Return the descriptions of the columns in the JSON file of a table; empty if it cannot be read."""
    try:
        columns = json.loads(texts.read(path)[0])
    except (OSError, ValueError, RecursionError):
        return {}
    described = columns.items() if isinstance(columns, dict) else ()
    return {name: found for name, found in described if isinstance(found, dict)}


def _units(described: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the units of columns, in lower case: as said, or else as the description of an age says."""
    out = {}
    for name, found in described.items():
        unit, column = found.get("Units"), name.strip().lower()
        said = found.get("Description")
        if isinstance(unit, str) and unit.strip():
            out[column] = unit.strip().lower()
        elif is_age(column) and isinstance(said, str):
            words = re.findall(r"(?:\bin (?:decimal |completed )?|\()([a-z]+)", said.lower())
            if named := next((word for word in words if years_in(word)), ""):
                out[column] = named
    return out
