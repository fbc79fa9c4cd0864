"""Age and sex from ``participants.tsv`` and ``*_sessions.tsv``, whoever wrote them and however."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from ...models.errors import InputError
from ...models.population import populations
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
from ...models.population.populations import WEEKS, YEARS, Population

DEFAULT, UNBORN = "adult", "fetal"
"""Population of an image of which nothing is known, and the one before birth."""

CHILD = 18.0
"""Age (years) below which the adult networks are doubtful."""

IN_DAYS = 45.0
"""Gestational weeks from which the number must be one of days."""


@dataclass(frozen=True)
class Person:
    """What the tables say of a participant (in a session).

    Attributes
    ----------
    age : float or None
        Years.
    sex : str or None
        As written.
    weeks : float or None
        Gestational age; at the scan, unless there is an age after birth as well.
    maybe : float or None
        Weeks that are gestational only if the scan was before birth: an age in weeks or days, ``scan_age``.
    unread : str or None
        A note on a gestational age that could not be read.
    fetal : bool
        Whether the tables have gestational ages, and no age after birth of anyone.
    """

    age: float | None = None
    sex: str | None = None
    weeks: float | None = None
    maybe: float | None = None
    unread: str | None = None
    fetal: bool = False

    @property
    def gestation(self) -> float | None:
        """Gestational age of who is known to be unborn."""
        return self.weeks if self.weeks is not None else self.maybe


class Demographics:
    """The dataset's tables; every question has an answer, also where they are missing or damaged.

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
        self.tells = _tells(rows, self.units)
        self.people: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            self.people.setdefault(_label(row.get("participant_id")), []).append(row)

    def __call__(self, participant: str, session: str | None) -> Person:
        """What is known; the session's own table comes first."""
        person = self._listed(participant, session)
        fetal = self.tells
        if session is not None:
            folder = self.root / f"sub-{participant}"
            units = self.session_units | _units(folder / f"sub-{participant}_sessions.json")
            rows = _rows(folder / f"sub-{participant}_sessions.tsv")
            mine = [row for row in rows if _label(row.get("session_id")) == session]
            person = _merged(_person(mine[-1] if mine else {}, units), person)
            fetal = fetal[0] or _tells(rows, units)[0], fetal[1] or _tells(rows, units)[1]
        return replace(person, fetal=fetal == (True, False))

    def _listed(self, participant: str, session: str | None) -> Person:
        """What ``participants.tsv`` says, which may have a row for every session."""
        rows = self.people.get(participant, [])
        mine = [row for row in rows if _label(row.get("session_id")) in (session, "", "n/a")]
        person = _person((mine or rows or [{}])[-1], self.units)
        # A fetus is of another age in another session.
        other = rows and not mine and session is not None
        return replace(person, weeks=None, maybe=None) if other else person


def population_of(wanted: str, person: Person, image: Path) -> tuple[str, str | None]:
    """The population that an image belongs to, and a note for the reader, or none.

    Parameters
    ----------
    wanted : str
        A population, which is then believed whatever the tables say, or ``auto``.
    person : Person
        What the tables say.
    image : Path
        The image; its ``rec-`` entity may tell where the tables do not.

    Raises
    ------
    InputError
        If ``wanted`` is ``auto`` and there are no networks for the age.
    """
    if wanted != "auto":
        record = populations.load(wanted)
        unread = person.unread if record.age_unit == WEEKS and person.gestation is None else None
        name, said = wanted, _beyond(record, person)
    elif person.age is None and person.weeks is None:
        unread, (name, said) = person.unread, _of_unknown_age(person, image)
    else:
        unread, (name, said) = None, _by_age(person, image)
    return name, " ".join(filter(None, (unread, said))) or None


def _of_unknown_age(person: Person, image: Path) -> tuple[str, str | None]:
    """The population where the tables give no age."""
    insist = f"if that is wrong, say --population {DEFAULT}."
    if found := populations.by_reconstruction(reconstruction(image)):
        label = reconstruction(image)
        how = f"taken as {found.name} by its reconstruction ({label})"
        if found.untrained:
            raise InputError(image, f"it was {how}, and {found.untrained}", _remedy(person))
        return found.name, f"The age is not known; the image was {how}: {insist}"
    if person.fetal:
        why = "the tables give gestational ages only"
        return UNBORN, f"The age is not known; the image was taken as {UNBORN}, for {why}: {insist}"
    if _could_be_unborn(person.maybe):
        said = f"The table's age of {person.maybe:.3g} weeks was not used, for newborns' are counted alike"
        return DEFAULT, f"{said}: if the scan is of a fetus, say --population {UNBORN}."
    return DEFAULT, None


def _by_age(person: Person, image: Path) -> tuple[str, str | None]:
    """The population that an age tells, which is one after birth if there are both."""
    mothers = _is_mothers(person, image)
    before = person.age is None or mothers
    age, unit = (person.weeks or 0.0, WEEKS) if before else (person.age or 0.0, YEARS)
    found = populations.by_age(age, unit)
    if found is None:
        raise _unknown_age(age, unit, image)
    if found.untrained:
        raise InputError(image, f"its age is {age:.2g} {unit}, and {found.untrained}", _remedy(person))
    notes = []
    if mothers:
        notes.append(
            f"The image was taken as {found.name} by its reconstruction and its gestational age of "
            f"{person.weeks:.3g} weeks, and the age of {person.age:g} years as the mother's: if that is "
            f"wrong, say --population {DEFAULT}."
        )
    elif found.name == DEFAULT and _could_be_unborn(person.weeks) and "_T2w." in image.name:
        notes.append(
            f"The tables give an age of {person.age:g} years and a gestational age of {person.weeks:.3g} "
            f"weeks. The latter was taken as that at birth: if it is that at the scan, "
            f"say --population {UNBORN}."
        )
    if found.name == DEFAULT and age < CHILD:
        notes.append(f"Age {age:g} years: the networks were trained on adults, so look at the segmentation.")
    return found.name, " ".join(notes) or None


def _unknown_age(age: float, unit: str, image: Path) -> InputError:
    """The error for an age that belongs to no population."""
    ranges = [populations.load(n) for n in populations.trained()]
    known = ", ".join(f"{r.ages[0]:g} to {r.ages[1]:g} {r.age_unit} ({r.name})" for r in ranges)
    remedy = "Leave it out, or insist with --population"
    if unit == WEEKS and age > IN_DAYS:
        remedy = f'Are these days? Then say so in the JSON file beside the table ("Units": "days"). {remedy}'
    return InputError(image, f"its age is {age:.3g} {unit}, and the networks know {known}", remedy)


def reconstruction(image: Path) -> str:
    """The label of an image's ``rec-`` entity, or nothing."""
    found = re.search(r"_rec-([a-zA-Z0-9+]+)_", image.name)
    return found[1] if found else ""


def _is_mothers(person: Person, image: Path) -> bool:
    """Whether an age is the mother's: a grown-up's, of what is by all else a fetal scan."""
    found = populations.by_reconstruction(reconstruction(image))
    return (
        found is not None
        and found.age_unit == WEEKS
        and _could_be_unborn(person.weeks)
        and (person.age or 0) >= CHILD
    )


def _could_be_unborn(age: float | None) -> bool:
    """Whether these weeks are some that the fetal networks know."""
    least, most = populations.load(UNBORN).ages
    return age is not None and least <= age <= most


def _remedy(person: Person) -> str:
    unborn = _could_be_unborn(person.weeks) or _could_be_unborn(person.maybe)
    also = f" (with --population {UNBORN}, if the scan was before birth)" if unborn else ""
    return f"Leave it out, or insist with --population {DEFAULT}{also}"


def _beyond(record: Population, person: Person) -> str | None:
    """A note where an age lies outside what a population's networks know."""
    age = person.gestation if record.age_unit == WEEKS else person.age
    if age is None or record.ages[0] <= age <= record.ages[1]:
        return None
    least, most = record.ages
    return (
        f"The age of {age:.3g} {record.age_unit} is outside of the {least:g} to {most:g} that the networks "
        f"know: look at every result."
    )


def _person(row: dict[str, str], units: dict[str, str]) -> Person:
    """What a row says."""
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
    """The gestational age, or else a note on what stands in its place."""
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
    """What the session's table says, and where that gives no age, what the participants' does."""
    known = own if own.age is not None or own.weeks is not None else person
    maybe = own.maybe if own.maybe is not None else known.maybe
    return replace(known, sex=own.sex or person.sex, maybe=maybe, unread=own.unread or known.unread)


def _tells(rows: list[dict[str, str]], units: dict[str, str]) -> tuple[bool, bool]:
    """Whether a table has gestational ages, and whether it has an age after birth."""
    # "ga" alone may mean something else, unless there is an age in it.
    named = any(c.startswith("gestational") for c in filter(is_gestational, rows[0] if rows else ()))
    people = [_person(row, units) for row in rows]
    return named or any(p.weeks is not None for p in people), any(p.age is not None for p in people)


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows, columns in lower case."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return []
    table = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [
        {k.strip().lower(): (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in table
    ]


def _label(text: str | None) -> str:
    """A label without ``sub-`` or ``ses-``."""
    name = text or ""
    return name.partition("-")[2] if name[:4] in ("sub-", "ses-") else name


def _units(path: Path) -> dict[str, str]:
    """Units of the columns that a table's JSON file describes, in lower case like the columns."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    described = columns.items() if isinstance(columns, dict) else ()
    found = {c.strip().lower(): d.get("Units") for c, d in described if isinstance(d, dict)}
    return {column: unit.strip().lower() for column, unit in found.items() if isinstance(unit, str)}
