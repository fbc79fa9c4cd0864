"""Age and sex from ``participants.tsv`` and ``*_sessions.tsv``."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path

from ...models.population.age_parsing import (
    MISSING,
    is_before_birth,
    is_gestational,
    is_unclear,
    weeks,
    weeks_in,
    years,
    years_in,
)
from ...models.population.populations import WEEKS


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
        A note on a gestational age that could not be read.
    fetal : bool
        Whether the tables have gestational ages and no ages after birth.
    """

    age: float | None = None
    sex: str | None = None
    weeks: float | None = None
    maybe: float | None = None
    unread: str | None = None
    fetal: bool = False

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
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units = _units(root / "participants.json")
        self.session_units = self.units | _units(root / "sessions.json")
        rows = _rows(root / "participants.tsv")
        self.ages = _has_ages(rows, self.units)
        self.people: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            self.people.setdefault(_label(row.get("participant_id")), []).append(row)

    def __call__(self, participant: str, session: str | None) -> Person:
        """Return age and sex; the table of the sessions comes first."""
        person = self._listed(participant, session)
        fetal = self.ages
        if session is not None:
            folder = self.root / f"sub-{participant}"
            units = self.session_units | _units(folder / f"sub-{participant}_sessions.json")
            rows = _rows(folder / f"sub-{participant}_sessions.tsv")
            mine = [row for row in rows if _label(row.get("session_id")) == session]
            person = _merged(_person(mine[-1] if mine else {}, units), person)
            fetal = fetal[0] or _has_ages(rows, units)[0], fetal[1] or _has_ages(rows, units)[1]
        return replace(person, fetal=fetal == (True, False))

    def _listed(self, participant: str, session: str | None) -> Person:
        """Return the values in ``participants.tsv``, which may have a row for each session."""
        rows = self.people.get(participant, [])
        mine = [row for row in rows if _label(row.get("session_id")) in (session, "", "n/a")]
        person = _person((mine or rows or [{}])[-1], self.units)
        # A fetus has another age in another session.
        other = rows and not mine and session is not None
        return replace(person, weeks=None, maybe=None) if other else person


def _person(row: dict[str, str], units: dict[str, str]) -> Person:
    """Return age and sex in a row."""
    sex = next((row[name] for name in ("sex", "gender") if row.get(name)), None)
    unit = units.get("age", "")
    age = years(row.get("age"), years_in(unit) or 1.0)
    gestation, unread = _gestation(row, units)
    maybe = next((w for c in row if is_unclear(c) and (w := _weeks(row, c, units)) is not None), None)
    if is_before_birth(unit):
        age, gestation = None, gestation if gestation is not None else _weeks(row, "age", units)
    elif unit.startswith(("week", "day")):
        maybe = _weeks(row, "age", units)
    return Person(age, None if sex in (None, "n/a") else sex, gestation, maybe, unread)


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
    named = any(c.startswith("gestational") for c in filter(is_gestational, rows[0] if rows else ()))
    people = [_person(row, units) for row in rows]
    return named or any(p.weeks is not None for p in people), any(p.age is not None for p in people)


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, with column names in lower case."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return []
    table = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [
        {k.strip().lower(): (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in table
    ]


def _label(text: str | None) -> str:
    """Return a label without ``sub-`` or ``ses-``."""
    name = text or ""
    return name.partition("-")[2] if name[:4] in ("sub-", "ses-") else name


def _units(path: Path) -> dict[str, str]:
    """Return the units of the columns in the JSON file of a table, in lower case."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    described = columns.items() if isinstance(columns, dict) else ()
    found = {c.strip().lower(): d.get("Units") for c, d in described if isinstance(d, dict)}
    return {column: unit.strip().lower() for column, unit in found.items() if isinstance(unit, str)}
