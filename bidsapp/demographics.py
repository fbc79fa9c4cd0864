"""Age and sex from ``participants.tsv`` and ``*_sessions.tsv``, whoever wrote them and however."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..models import populations
from ..models.errors import InputError
from ..models.populations import WEEKS, YEARS, Population

YEAR = {"year": 1.0, "month": 1 / 12, "week": 1 / 52.18, "day": 1 / 365.25}
"""Years in each unit that an age may have."""

DEFAULT = "adult"
"""Population of an image of which nothing is known."""

CHILD = 18.0
"""Age (years) below which the adult networks are doubtful."""

GESTATIONAL = ("gestational_age", "gestational_age_weeks", "gestational_weeks", "ga", "ga_weeks")
"""Columns that hold a gestational age."""


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
        Gestational age at the scan, where it is given in place of an age.
    """

    age: float | None = None
    sex: str | None = None
    weeks: float | None = None


class Demographics:
    """The dataset's tables; every question has an answer, also where they are missing or damaged.

    Parameters
    ----------
    root : Path
        The dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.people = _rows(root / "participants.tsv", "participant_id")
        self.unit = _units(root / "participants.json")
        self.session_unit = _units(root / "sessions.json")

    def __call__(self, participant: str, session: str | None) -> Person:
        """What is known; the session's own table comes first."""
        row = self.people.get(participant, {})
        person = _person(row, self.unit)
        if session is None:
            return person
        folder = self.root / f"sub-{participant}"
        rows = _rows(folder / f"sub-{participant}_sessions.tsv", "session_id")
        own = _person(rows.get(session, {}), self.session_unit)
        if own.age is None and own.weeks is None:
            own = Person(person.age, own.sex, person.weeks)
        return Person(own.age, own.sex or person.sex, own.weeks)


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
        return wanted, _beyond(populations.load(wanted), person)
    unit, age = (WEEKS, person.weeks) if person.weeks is not None else (YEARS, person.age)
    if age is None:
        label = re.search(r"_rec-([a-zA-Z0-9+]+)_", image.name)
        found = populations.by_reconstruction(label[1] if label else "") or populations.load(DEFAULT)
        said = None if found.name == DEFAULT else f"taken as {found.name} by its reconstruction ({label[1]})"
    else:
        found, said = populations.by_age(age, unit), None
    if found is None:
        ranges = [populations.load(n) for n in populations.trained()]
        known = ", ".join(f"{r.ages[0]:g} to {r.ages[1]:g} {r.age_unit} ({r.name})" for r in ranges)
        reason = f"its age is {age:.3g} {unit}, and the networks know {known}"
        raise InputError(image, reason, "Leave it out, or insist with --population")
    if found.untrained:
        how = f"its age is {age:.2g} {unit}" if age is not None else f"it was {said}"
        remedy = f"Leave it out, or insist with --population {DEFAULT}"
        raise InputError(image, f"{how}, and {found.untrained}", remedy)
    if said:
        said = f"The age is not known; the image was {said}: if that is wrong, say --population {DEFAULT}."
    elif found.name == DEFAULT and age is not None and age < CHILD:
        said = f"Age {age:g} years: the networks were trained on adults, so look at the segmentation."
    return found.name, said


def _beyond(record: Population, person: Person) -> str | None:
    """A note where an age lies outside what a population's networks know."""
    age = person.weeks if record.age_unit == WEEKS else person.age
    if age is None or record.ages[0] <= age <= record.ages[1]:
        return None
    least, most = record.ages
    return (
        f"The age of {age:.3g} {record.age_unit} is outside of the {least:g} to {most:g} that the networks "
        f"know: look at every result."
    )


def weeks(text: str | None, unit: float = 1.0) -> float | None:
    """Weeks of gestation from what people write: 28, 28.4, 28+3, 28w3d.

    Examples
    --------
    >>> weeks("28+3.5"), weeks("28w"), weeks("196", 1 / 7), weeks("n/a")
    (28.5, 28.0, 28.0, None)
    """
    found = re.fullmatch(r"\s*(\d+(?:[.,]\d+)?)\s*(?:\+|w)\s*(\d+(?:\.\d+)?)?\s*d?\s*", text or "")
    if found:
        return float(found[1].replace(",", ".")) + float(found[2] or 0) / 7
    return years(text, unit)


def years(text: str | None, unit: float = 1.0) -> float | None:
    """A number of years from what people write.

    Examples
    --------
    >>> years("42"), years("89+"), years("n/a"), years("18", 1 / 12)
    (42.0, 89.0, None, 1.5)
    """
    found = re.fullmatch(r"\s*[<>]?=?\s*(\d+(?:[.,]\d+)?)\s*\+?\s*", text or "")
    return float(found[1].replace(",", ".")) * unit if found else None


def _person(row: dict[str, str], units: tuple[float, float]) -> Person:
    unit, gestational = units
    sex = next((row[name] for name in ("sex", "gender") if row.get(name)), None)
    age = years(row.get("age"), unit)
    gestation = next((found for c in GESTATIONAL if (found := weeks(row.get(c), gestational))), None)
    # With an age after birth, the gestational age is that at birth.
    before_birth = gestation if age is None else None
    return Person(age, None if sex in (None, "n/a") else sex, before_birth)


def _rows(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Rows by label, columns in lower case."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return {}
    out = {}
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        lower = {k.strip().lower(): (v or "").strip() for k, v in row.items() if isinstance(k, str)}
        label = lower.get(key, "")
        out[label.partition("-")[2] if label[:4] in ("sub-", "ses-") else label] = lower
    return out


def _units(path: Path) -> tuple[float, float]:
    """Years in one unit of the age column, and weeks in one of the gestational age's."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return 1.0, 1.0
    gestational = next((_unit(columns, c) for c in GESTATIONAL if _unit(columns, c)), None)
    return _unit(columns, "age") or 1.0, (gestational or YEAR["week"]) / YEAR["week"]


def _unit(columns: object, name: str) -> float | None:
    """Years in one unit of a column, if its description tells."""
    try:
        unit = columns[name]["Units"].lower()  # type: ignore[index]
    except (KeyError, TypeError, AttributeError):
        return None
    return next((factor for start, factor in YEAR.items() if unit.startswith(start)), None)
