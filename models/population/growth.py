"""Growth before birth: tissue volumes by gestational age, and an estimate of the age from volumes.

The curves (log volume as a quadratic in weeks, with its deviation) and the regression of the age on a few
volumes are fitted by :mod:`brainseg.training.fetal.growth_curves` and stored with their errors in
``models/data/growth``. They are based on atlases, each the mean of many fetuses: single fetuses vary more.
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
"""Largest extrapolation (weeks) of an estimate beyond the fitted ages."""


@dataclass(frozen=True)
class Curve:
    """Growth curve of a structure.

    Attributes
    ----------
    coefficients : tuple of float
        Log of the volume (mm3) as a polynomial in weeks, constant first.
    deviation : float
        Standard deviation of the log volume.
    """

    coefficients: tuple[float, ...]
    deviation: float

    def at(self, weeks: float, deviations: float = 0.0) -> float:
        """Return the volume at an age.

        Parameters
        ----------
        weeks : float
            Gestational age (weeks).
        deviations : float
            Number of standard deviations above the curve.

        Returns
        -------
        float
            Volume (mm3).

        Examples
        --------
        >>> round(Curve((math.log(1000.0), 0.1), 0.2).at(10.0))
        2718
        """
        middle = sum(c * weeks**k for k, c in enumerate(self.coefficients))
        return math.exp(middle + deviations * self.deviation)


@dataclass(frozen=True)
class Growth:
    """Growth curves of a population, and the regression of the age on volumes.

    Attributes
    ----------
    curves : dict of int to Curve
        Curves by index of the unsided structure.
    weeks : tuple of float
        Range of the fitted ages.
    age : dict of int to float
        Weeks per log volume (mm3) of a structure; 0 is the constant.
    squares : dict of int to float
        Weeks per squared log volume of a structure.
    error : float
        Root mean squared error (weeks) of the estimated age in cross-validation.
    subjects : int
        Number of subjects.
    """

    curves: dict[int, Curve]
    weeks: tuple[float, float]
    age: dict[int, float]
    squares: dict[int, float]
    error: float
    subjects: int

    def estimate(self, volumes: Mapping[int, float], table: str) -> float | None:
        """Return the gestational age estimated from volumes.

        Parameters
        ----------
        volumes : mapping of int to float
            Volumes (mm3) by index, sides separate.
        table : str
            Label table.

        Returns
        -------
        float or None
            Weeks; None if a volume is missing.
        """
        whole = both_sides(volumes, table)
        if any(whole.get(index, 0.0) <= 0 for index in self.age if index):
            return None
        logs = {index: math.log(whole[index]) for index in self.age if index}
        weeks = self.age[0] + sum(self.age[index] * log for index, log in logs.items())
        weeks += sum(c * logs[index] ** 2 for index, c in self.squares.items())
        # The regression does not extrapolate far beyond the fitted ages.
        return min(max(weeks, self.weeks[0] - BEYOND), self.weeks[1] + BEYOND)


def both_sides(volumes: Mapping[int, float], table: str) -> dict[int, float]:
    """Return the sum of left and right volumes, by the index of the left structure.

    Parameters
    ----------
    volumes : mapping of int to float
        Volumes by index, sides separate.
    table : str
        Label table.

    Returns
    -------
    dict of int to float
        Volumes by unsided index.

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
    """Read growth curves of the package.

    Parameters
    ----------
    name : str
        Name of the file, without its ending.

    Returns
    -------
    Growth
        The curves.
    """
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
