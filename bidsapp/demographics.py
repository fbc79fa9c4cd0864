"""Age and sex from ``participants.tsv`` and ``*_sessions.tsv``, whoever wrote them and however."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..models.errors import InputError

YEARS = {"year": 1.0, "month": 1 / 12, "week": 1 / 52.18, "day": 1 / 365.25}
CHILD, INFANT = 18.0, 2.0
"""Ages (years) below which the adult networks are doubtful, and below which they are refused."""


@dataclass(frozen=True)
class Person:
    """What the tables say of a participant (in a session).

    Attributes
    ----------
    age : float or None
        Years.
    sex : str or None
        As written.
    gestational : bool
        Whether a gestational age is given in place of an age.
    """

    age: float | None = None
    sex: str | None = None
    gestational: bool = False


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
        self.unit = _unit(root / "participants.json")
        self.session_unit = _unit(root / "sessions.json")

    def __call__(self, participant: str, session: str | None) -> Person:
        """What is known; the session's own table comes first."""
        row = self.people.get(participant, {})
        person = _person(row, self.unit)
        if session is None:
            return person
        folder = self.root / f"sub-{participant}"
        rows = _rows(folder / f"sub-{participant}_sessions.tsv", "session_id")
        own = _person(rows.get(session, {}), self.session_unit)
        if own.age is None and not own.gestational:
            own = Person(person.age, own.sex, person.gestational)
        return Person(own.age, own.sex or person.sex, own.gestational)


def check_population(population: str, person: Person, path: Path) -> str | None:
    """Whether the adult networks suit; returns a note for the reader, or nothing.

    Raises
    ------
    InputError
        If ``population`` is ``auto`` and the tables say that this is no adult's or child's brain.
    """
    if population != "auto":
        return None
    remedy = "Leave it out, or insist with --population adult"
    if person.gestational:
        raise InputError(
            path, "it has a gestational age, and there are no networks for fetal brains yet", remedy
        )
    if person.age is None:
        return None
    if person.age < INFANT:
        reason = f"its age is {person.age:.2g} years, and there are no networks for infants yet"
        raise InputError(path, reason, remedy)
    if person.age < CHILD:
        return f"Age {person.age:g} years: the networks were trained on adults, so look at the segmentation."
    return None


def years(text: str | None, unit: float = 1.0) -> float | None:
    """A number of years from what people write.

    Examples
    --------
    >>> years("42"), years("89+"), years("n/a"), years("18", 1 / 12)
    (42.0, 89.0, None, 1.5)
    """
    found = re.fullmatch(r"\s*[<>]?=?\s*(\d+(?:[.,]\d+)?)\s*\+?\s*", text or "")
    return float(found[1].replace(",", ".")) * unit if found else None


def _person(row: dict[str, str], unit: float) -> Person:
    sex = next((row[name] for name in ("sex", "gender") if row.get(name)), None)
    gestational = years(row.get("gestational_age")) is not None and years(row.get("age")) is None
    return Person(years(row.get("age"), unit), None if sex in (None, "n/a") else sex, gestational)


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


def _unit(path: Path) -> float:
    """Years in one unit of the age column."""
    try:
        column = json.loads(path.read_text(encoding="utf-8-sig"))["age"]["Units"].lower()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 1.0
    return next((factor for name, factor in YEARS.items() if column.startswith(name)), 1.0)
