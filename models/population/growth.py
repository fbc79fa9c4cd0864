"""Growth before birth: how large each tissue is at which gestational age, and the age that volumes tell.

The curves (log volume as a quadratic in weeks, with the spread about it) and the age's regression on a few
volumes are fitted by :mod:`brainseg.training.fetal.growth_curves`; they stand with their errors in
``models/data/growth``.
They rest on atlases, each the mean of many fetuses: the spread of single fetuses is wider.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ..data import FOLDER
from . import labels

BEYOND = 1.5
"""Weeks beyond the fitted ages that an estimate may reach."""


@dataclass(frozen=True)
class Curve:
    """A tissue's growth.

    Attributes
    ----------
    coefficients : tuple of float
        Log of the volume (mm3) as a polynomial in weeks, constant first.
    deviation : float
        Standard deviation of the log volume about it.
    """

    coefficients: tuple[float, ...]
    deviation: float

    def at(self, weeks: float, deviations: float = 0.0) -> float:
        """Volume (mm3) at an age, so many standard deviations from the middle.

        Examples
        --------
        >>> round(Curve((math.log(1000.0), 0.1), 0.2).at(10.0))
        2718
        """
        middle = sum(c * weeks**k for k, c in enumerate(self.coefficients))
        return math.exp(middle + deviations * self.deviation)


@dataclass(frozen=True)
class Growth:
    """What is known of a population's growth.

    Attributes
    ----------
    curves : dict of int to Curve
        By index of the structure without side.
    weeks : tuple of float
        Ages that the curves rest on.
    age : dict of int to float
        Weeks for each unit of a structure's log volume (mm3); 0 holds the constant.
    squares : dict of int to float
        Weeks for each unit of the square of a structure's log volume.
    error : float
        Root mean squared error (weeks) of the estimated age on subjects left out.
    subjects : int
        On how many subjects all rests.
    """

    curves: dict[int, Curve]
    weeks: tuple[float, float]
    age: dict[int, float]
    squares: dict[int, float]
    error: float
    subjects: int

    def estimate(self, volumes: Mapping[int, float], table: str) -> float | None:
        """Gestational age (weeks) that volumes (mm3, by index, sides apart) tell; None if one is missing."""
        whole = both_sides(volumes, table)
        if any(whole.get(index, 0.0) <= 0 for index in self.age if index):
            return None
        logs = {index: math.log(whole[index]) for index in self.age if index}
        told = self.age[0] + sum(self.age[index] * log for index, log in logs.items())
        told += sum(c * logs[index] ** 2 for index, c in self.squares.items())
        # A curve says nothing beyond what it was fitted to.
        return min(max(told, self.weeks[0] - BEYOND), self.weeks[1] + BEYOND)


def both_sides(volumes: Mapping[int, float], table: str) -> dict[int, float]:
    """Volumes with left and right together, under the index of the left.

    Examples
    --------
    >>> both_sides({2: 1.0, 41: 2.0, 16: 3.0}, "fetal")
    {2: 3.0, 16: 3.0}
    """
    known = labels.load(table)
    out: dict[int, float] = {}
    for index, volume in volumes.items():
        if index in known.by_index:
            left = min(index, known[index].partner)
            out[left] = out.get(left, 0.0) + volume
    return out


@cache
def load(name: str) -> Growth:
    """Read the growth curves ``name``."""
    content = json.loads((FOLDER / "growth" / f"{name}.json").read_text())
    return Growth(
        curves={
            int(k): Curve(tuple(c["coefficients"]), c["deviation"]) for k, c in content["curves"].items()
        },
        weeks=tuple(content["weeks"]),
        age={int(k): v for k, v in content["age"].items()},
        squares={int(k): v for k, v in content.get("age_squares", {}).items()},
        error=content["error"],
        subjects=content["subjects"],
    )
