"""Populations as data: which networks, labels and template serve whose brain."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from .errors import UsageError


@dataclass(frozen=True)
class Population:
    """The record of a population.

    Attributes
    ----------
    name : str
        Its name on the command line.
    age_years : tuple of float
        Ages it is meant for.
    labels : str
        Label table.
    template : str
        Default template.
    coarse, skullstrip, segmentation : str
        Names of the networks' weights.
    brain_ml : tuple of float
        Plausible volume of the brain mask (mL); beyond it the result is flagged.
    """

    name: str
    age_years: tuple[float, float]
    labels: str
    template: str
    coarse: str
    skullstrip: str
    segmentation: str
    brain_ml: tuple[float, float]

    @property
    def networks(self) -> tuple[str, str, str]:
        """Weights in the order in which the chain uses them."""
        return self.coarse, self.skullstrip, self.segmentation


def names() -> list[str]:
    """Names of the populations that there are records for."""
    folder = files(__package__) / "populations"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))


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
    record = tomllib.loads((files(__package__) / "populations" / f"{name}.toml").read_text())
    low, high = record["age_years"]
    least, most = record["plausible"]["brain_ml"]
    return Population(
        name=record["name"],
        age_years=(low, high),
        labels=record["labels"],
        template=record["template"],
        brain_ml=(least, most),
        **record["networks"],
    )
