"""The population of a participant-session: from the option, the tables or the reconstruction's name."""

from __future__ import annotations

import re
from pathlib import Path

from ...models.errors import InputError
from ...models.population import populations
from ...models.population.populations import WEEKS, YEARS, Population
from .participants import Person

DEFAULT, FETAL = "adult", "fetal"
"""Population if no age is known, and the population before birth."""

CHILD = 18.0
"""Age (years) below which the adult networks are less reliable."""

YOUNG = re.compile(r"infan|neonat|newborn|bab(y|ies)|toddler|preterm|perinat", re.I)
"""Beginnings of words in the path of a dataset of infants."""

OF_INFANTS = re.compile(r"\d+(d|days?|w|wks?|weeks?|m|mos?|mths?|months?)", re.I)
"""Labels of sessions that may be the age of an infant."""

IN_DAYS = 45.0
"""Gestational weeks above which the number must be in days."""


def population_of(wanted: str, person: Person, image: Path) -> tuple[str, str | None]:
    """Return the population of an image, and a note for the reports or None.

    Parameters
    ----------
    wanted : str
        A population, which overrides the tables, or ``auto``.
    person : Person
        Age and sex in the tables.
    image : Path
        The image; its ``rec-`` entity may decide if the tables have no age.

    Raises
    ------
    InputError
        If ``wanted`` is ``auto`` and there are no networks for the age.
    """
    if wanted != "auto":
        record = populations.load(wanted)
        unread = person.unread if person.age_in(record.age_unit) is None else None
        name, said = wanted, _beyond(record, person)
    elif person.age is None and person.weeks is None:
        unread, (name, said) = person.unread, _of_unknown_age(person, image)
    else:
        unread, (name, said) = None, _by_age(person, image)
    return name, " ".join(filter(None, (unread, said))) or None


def _of_unknown_age(person: Person, image: Path) -> tuple[str, str | None]:
    """Return the population if the tables have no age."""
    insist = f"if that is wrong, use --population {DEFAULT}."
    if found := populations.by_reconstruction(reconstruction(image)):
        label = reconstruction(image)
        how = f"taken as {found.name} by its reconstruction ({label})"
        if found.untrained:
            raise InputError(image, f"it was {how}, and {found.untrained}", _remedy(person))
        return found.name, f"The age is not known; the image was {how}: {insist}"
    if person.fetal:
        why = "the tables give gestational ages only"
        return FETAL, f"The age is not known; the image was taken as {FETAL}, for {why}: {insist}"
    if _could_be_fetal(person.maybe):
        said = f"The table's age of {person.maybe:.3g} weeks was not used, for newborns' are counted alike"
        return DEFAULT, f"{said}: if the scan is of a fetus, use --population {FETAL}."
    return DEFAULT, None


def _by_age(person: Person, image: Path) -> tuple[str, str | None]:
    """Return the population of an age; an age after birth comes first."""
    mothers = _is_mothers(person, image)
    before = person.age is None or mothers
    age, unit = (person.weeks or 0.0, WEEKS) if before else (person.age or 0.0, YEARS)
    found = populations.by_age(age, unit)
    if found is None:
        raise _unknown_age(age, unit, image)
    if found.untrained:
        written = "" if before else person.written
        said = written or f"{age:.2g} {unit if age != 1 else unit.removesuffix('s')}"
        raise InputError(image, f"its age is {said}, and {found.untrained}", _remedy(person))
    notes = []
    if mothers:
        notes.append(
            f"The image was taken as {found.name} by its reconstruction and its gestational age of "
            f"{person.weeks:.3g} weeks, and the age of {person.age:g} years as the mother's: if that is "
            f"wrong, use --population {DEFAULT}."
        )
    elif found.name == DEFAULT and _could_be_fetal(person.weeks) and "_T2w." in image.name:
        notes.append(
            f"The tables give an age of {person.age:g} years and a gestational age of {person.weeks:.3g} "
            f"weeks. The latter was taken as that at birth: if it is that at the scan, "
            f"use --population {FETAL}."
        )
    if found.name == DEFAULT and age < CHILD:
        notes.append(f"Age {age:g} years: the networks were trained on adults, so check the segmentation.")
    return found.name, " ".join(notes) or None


def _unknown_age(age: float, unit: str, image: Path) -> InputError:
    """Return the error for an age outside all populations."""
    ranges = [populations.load(n) for n in populations.trained()]
    known = ", ".join(f"{r.ages[0]:g} to {r.ages[1]:g} {r.age_unit} ({r.name})" for r in ranges)
    remedy = f"Leave it out, or insist with --population {FETAL if unit == WEEKS else DEFAULT}"
    if unit == WEEKS and age > IN_DAYS:
        remedy = f'Are these days? Then say so in the JSON file beside the table ("Units": "days"). {remedy}'
    return InputError(image, f"its age is {age:.3g} {unit}, and the networks know {known}", remedy)


def unknown_ages(lacking: list[str], tried: int, unit: str, *, assumed: bool) -> str:
    """Return the note for the log on participant-sessions whose age is not in the tables.

    Parameters
    ----------
    lacking : list of str
        Their keys.
    tried : int
        Number of all participant-sessions with an image.
    unit : str
        Unit of the ages that are missing.
    assumed : bool
        Whether they are taken as the default population.
    """
    some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
    what = "gestational age (weeks)" if unit == WEEKS else "readable age"
    taken = f"taken as {DEFAULT}; see --population" if assumed else "check the tables"
    return f"No {what} for {len(lacking)} of {tried} ({some}): {taken}."


def no_ages(root: Path, sessions: list[str]) -> str:
    """Return the note for the log on a dataset without any table of ages.

    Parameters
    ----------
    root : Path
        The dataset; its path may tell the age.
    sessions : list of str
        Labels of its sessions, which may be ages.

    Examples
    --------
    >>> no_ages(Path("/data/study"), ["01"])
    'No ages are known (there is no participants.tsv): taken as adult; see --population.'
    >>> no_ages(Path("/data/study"), ["6mo"]).partition("population. ")[2]
    "If '6mo' is an age, write the ages into participants.tsv: infants are refused by their age only."
    """
    said = f"No ages are known (there is no participants.tsv): taken as {DEFAULT}; see --population."
    named = [word for part in root.parts[-3:] for word in re.split(r"[^a-zA-Z]+", part) if YOUNG.match(word)]
    named += [label for label in sessions if OF_INFANTS.fullmatch(label)]
    if not named:
        return said
    why = "write the ages into participants.tsv: infants are refused by their age only"
    return f"{said} If {named[0]!r} is an age, {why}."


def reconstruction(image: Path) -> str:
    """Return the label of the ``rec-`` entity of an image; empty if there is none."""
    found = re.search(r"_rec-([a-zA-Z0-9+]+)_", image.name)
    return found[1] if found else ""


def _is_mothers(person: Person, image: Path) -> bool:
    """Return whether an age is the mother's: that of an adult, for a fetal scan."""
    found = populations.by_reconstruction(reconstruction(image))
    return (
        found is not None
        and found.age_unit == WEEKS
        and _could_be_fetal(person.weeks)
        and (person.age or 0) >= CHILD
    )


def _could_be_fetal(age: float | None) -> bool:
    """Return whether the fetal networks are trained for this gestational age."""
    least, most = populations.load(FETAL).ages
    return age is not None and least <= age <= most


def unused(person: Person) -> bool:
    """Return whether an age in weeks was not used, with a note of :func:`population_of`."""
    return _could_be_fetal(person.maybe)


def _remedy(person: Person) -> str:
    fetal = _could_be_fetal(person.weeks) or _could_be_fetal(person.maybe)
    also = f" (with --population {FETAL}, if the scan was before birth)" if fetal else ""
    return f"Leave it out, or insist with --population {DEFAULT}{also}"


def _beyond(record: Population, person: Person) -> str | None:
    """Return a note if an age is outside the range of a population."""
    age = person.age_in(record.age_unit)
    if age is None or record.ages[0] <= age <= record.ages[1]:
        return None
    least, most = record.ages
    return (
        f"The age of {age:.3g} {record.age_unit} is outside the range of the networks ({least:g} to "
        f"{most:g}): check every result."
    )
