"""The population of a participant-session: from the option, the tables or the reconstruction's name."""

from __future__ import annotations

import re
from pathlib import Path

from ...models.errors import InputError
from ...models.population import populations
from ...models.population.populations import WEEKS, YEARS, Population
from .participants import Person

DEFAULT, UNBORN = "adult", "fetal"
"""Population of an image of which nothing is known, and the one before birth."""

CHILD = 18.0
"""Age (years) below which the adult networks are doubtful."""

IN_DAYS = 45.0
"""Gestational weeks from which the number must be one of days."""


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
        unread = person.unread if record.age_unit == WEEKS and person.age_in(WEEKS) is None else None
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
    age = person.age_in(record.age_unit)
    if age is None or record.ages[0] <= age <= record.ages[1]:
        return None
    least, most = record.ages
    return (
        f"The age of {age:.3g} {record.age_unit} is outside of the {least:g} to {most:g} that the networks "
        f"know: look at every result."
    )
