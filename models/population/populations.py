"""Populations as data: which networks, labels and templates serve whose brain."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..data import FOLDER
from ..errors import UsageError

WEEKS, YEARS = "gestational weeks", "years"
"""Units of age: before birth and after."""


@dataclass(frozen=True)
class Cohorts:
    """A template that comes in several, each for an age.

    Attributes
    ----------
    unit : str
        Unit of the ages, ``gestational weeks`` or ``months``.
    names : tuple of str
        Labels of the cohorts, youngest first.
    until : tuple of float
        Age up to which each of them is used.
    """

    unit: str
    names: tuple[str, ...]
    until: tuple[float, ...]

    def of(self, age: float) -> str:
        """The cohort for an age; who is older than all gets the oldest.

        Examples
        --------
        >>> Cohorts("months", ("1", "2"), (2, 5)).of(3.5)
        '2'
        """
        return next((n for n, end in zip(self.names, self.until, strict=True) if age < end), self.names[-1])


@dataclass(frozen=True)
class Population:
    """The record of a population.

    Attributes
    ----------
    name : str
        Its name on the command line.
    age_unit : str
        ``years``, or ``gestational weeks`` before birth.
    ages : tuple of float
        Ages that its networks are meant for.
    labels : str
        Label table.
    template : str
        Default template.
    coarse, skullstrip, segmentation : str
        Names of the networks' weights.
    brain_ml : tuple of float
        Plausible volume of the brain mask (mL); beyond it the result is flagged.
    untrained : str
        Why it cannot be processed; empty if it can.
    reconstructions : tuple of str
        What the ``rec-`` entity of its images may begin with, where that alone tells the population.
    cohorts : dict of str to Cohorts
        Templates that come by age.
    thickest_mm : float
        Voxels that are larger along an axis get a brain mask only; 0 if there is no such bound.
    growth : str
        Growth curves (:mod:`brainseg.models.population.growth`); empty if there are none.
    hippocampus : str
        Weights that tell the parts of the hippocampus; empty if there are none.
    lesion : str
        Weights that find lesions; empty if there are none.
    parts : dict of str to str
        By the step that asks for it, a label table that tells further parts of structures apart.
    registration : dict of str to object
        ``spacing`` (mm), ``emphasis`` and ``steps`` of the deformation where they are not the default ones
        (:meth:`brainseg.models.deformation.diffeomorphic.Options.finer`).
    velocity : str
        Weights that predict where a registration ends; empty if there are none.
    """

    name: str
    age_unit: str
    ages: tuple[float, float]
    labels: str = ""
    template: str = ""
    coarse: str = ""
    skullstrip: str = ""
    segmentation: str = ""
    brain_ml: tuple[float, float] = (0.0, 3000.0)
    untrained: str = ""
    reconstructions: tuple[str, ...] = ()
    cohorts: dict[str, Cohorts] = field(default_factory=dict)
    thickest_mm: float = 0.0
    growth: str = ""
    hippocampus: str = ""
    lesion: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    registration: dict[str, Any] = field(default_factory=dict)
    velocity: str = ""

    @property
    def networks(self) -> tuple[str, str, str]:
        """Weights in the order in which the chain uses them."""
        return self.coarse, self.skullstrip, self.segmentation


def restricted(record: Population, *steps: str) -> str | None:
    """What the licences of a population's networks restrict their use to; None if they are open.

    Parameters
    ----------
    record : Population
        Whose.
    steps : str
        Names of fields of further networks, such as ``lesion``; they are named one by one.
    """
    found, more = [], []
    further = [getattr(record, step) for step in steps]
    for name in dict.fromkeys((*record.networks, *further)):
        card = FOLDER / "weights" / f"{name}.json"
        licence = json.loads(card.read_text()).get("licence", "") if name and card.is_file() else ""
        if "research use" in licence.lower():
            (more if name in further else found).append(licence)
    words = [f"The networks for {record.name} brains: {'; '.join(dict.fromkeys(found))}."] if found else []
    words += [f"The networks for lesions: {'; '.join(dict.fromkeys(more))}."] if more else []
    return " ".join(words) or None


def told_apart(record: Population) -> dict[str, str]:
    """Those of a record's finer label tables that its network tells, by the step that asks for them."""
    card = FOLDER / "weights" / f"{record.segmentation}.json"
    table = json.loads(card.read_text()).get("label_table") if card.is_file() else None
    return {step: finer for step, finer in record.parts.items() if finer == table}


def names() -> list[str]:
    """Names of the populations that there are records for."""
    folder = FOLDER / "populations"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


def trained() -> list[str]:
    """Names of the populations whose networks there are."""
    return [name for name in names() if not load(name).untrained]


@cache
def load(name: str) -> Population:
    """Read the record of the population ``name``.

    Raises
    ------
    UsageError
        If there is none.
    """
    if name not in names():
        raise UsageError(None, f"there is no population {name!r}", f"Use one of: {', '.join(names())}")
    record = tomllib.loads((FOLDER / "populations" / f"{name}.toml").read_text())
    plausible = record.pop("plausible", {})
    cohorts = {
        template: Cohorts(c["unit"], tuple(map(str, c["names"])), tuple(c["until"]))
        for template, c in record.pop("cohorts", {}).items()
    }
    return Population(
        ages=tuple(record.pop("ages")),
        reconstructions=tuple(record.pop("reconstructions", ())),
        cohorts=cohorts,
        **record.pop("networks", {}),
        **{k: tuple(v) for k, v in plausible.items()},
        **record,
    )


def by_age(age: float, unit: str) -> Population | None:
    """The population that an age belongs to, trained or not; None if it belongs to none.

    Examples
    --------
    >>> by_age(28, WEEKS).name, by_age(0.5, YEARS).name, by_age(16, WEEKS)
    ('fetal', 'infant', None)
    """
    for name in names():
        record = load(name)
        if record.age_unit == unit and record.ages[0] <= age <= record.ages[1]:
            return record
    return None


def by_reconstruction(label: str) -> Population | None:
    """The population that an image's ``rec-`` entity tells, if it tells one."""
    for name in names():
        if label and label.lower().startswith(load(name).reconstructions):
            return load(name)
    return None
