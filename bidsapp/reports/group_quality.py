"""Quality of a whole study: the table, its dictionary, and who is unusual."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...models.quality import iqm
from . import label_tables, render
from .cohort import Cohort, structures, total
from .derivatives import Result, number
from .outliers import UNUSUAL, Distances, distances

PLOTTED = (
    "cjv",
    "cnr",
    "snr_total",
    "snrd_total",
    "efc",
    "fber",
    "inu_range",
    "qi_1",
    "qi_2",
    "wm2max",
    "fwhm_avg",
    "rpve_gm",
    "tpm_overlap_gm",
)
"""Metrics that the page offers; all are in the table."""

LEVELS = {
    "pass": "All checks passed",
    "check": "Should be looked at",
    "fail": "Not to be used as it is",
}


class Unusual:
    """Distances of the units' volumes from what the others let expect, by age and brain size.

    Parameters
    ----------
    cohort : Cohort
        Everybody's volumes.
    ages : dict of str to float or None
        Age by key, all in one unit.
    """

    def __init__(self, cohort: Cohort, ages: dict[str, float | None]) -> None:
        self.keys = list(cohort.volumes)
        self.names = [name for name, *_ in structures()]
        self.volumes = np.array(
            [
                [_or_nan(total(cohort.volumes[key], parts)) for _, _, parts, _ in structures()]
                for key in self.keys
            ]
        ).reshape(len(self.keys), len(self.names))
        size = np.array([_or_nan(cohort.volumes[key].get("brain")) for key in self.keys])
        age = np.array([_or_nan(ages.get(key)) for key in self.keys])
        self.found: Distances = distances(self.volumes, size, age)
        self._row = {key: row for row, key in enumerate(self.keys)}
        with np.errstate(all="ignore"):
            known = np.isfinite(self.volumes).any(0)
            self._median = np.full(len(self.names), np.nan)
            if self.keys:
                self._median[known] = np.nanmedian(self.volumes[:, known], axis=0)

    @property
    def adjusted(self) -> str:
        """What the distances are adjusted for, in words."""
        return " and ".join(self.found.terms)

    def distance(self, key: str) -> float | None:
        """How far a unit lies from the others, in robust standard deviations."""
        value = self.found.distance[self._row[key]] if key in self._row else math.nan
        return float(value) if math.isfinite(value) else None

    def words(self, key: str) -> list[str]:
        """Structures of a unit that lie far from the others', the farthest first.

        In per cent of the median volume; a brain's size and age may explain a part of that.
        """
        row = self._row.get(key)
        if row is None:
            return []
        z = self.found.z[row]
        out = []
        for k in np.argsort(-np.abs(np.nan_to_num(z))):
            if abs(np.nan_to_num(z[k])) <= UNUSUAL or not self._median[k]:
                break
            percent = 100 * (self.volumes[row, k] / self._median[k] - 1)
            out.append(f"{self.names[k]} {render.signed(percent, 0)} %")
        return out


def ages(people: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Ages by key in one unit: weeks of gestation where nobody is born yet, else years.

    Examples
    --------
    >>> ages({"sub-1": {"age": None, "gestational_age": 27.0}})
    {'sub-1': 27.0}
    """
    born = any(person["age"] is not None for person in people.values())
    return {key: person["age" if born else "gestational_age"] for key, person in people.items()}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def columns(units: list[Result]) -> list[str]:
    """Columns of the table of quality that some unit fills, after those that describe the unit."""
    there = {name for unit in units for name in unit.metrics}
    scores = {index for unit in units for index in unit.scores}
    names = [f"score_{label.name}" for label in label_tables.every() if label.index in scores]
    return [
        "verdict",
        "score",
        "not_passed",
        "volume_distance",
        *(n for n in iqm.DEFINITIONS if n in there),
        *names,
    ]


def row(unit: Result, unusual: Unusual) -> dict[str, Any]:
    """A unit's cells."""
    distance = unusual.distance(unit.key)
    flagged = [str(check.get("name")) for check in unit.checks if check.get("verdict") != "pass"]
    out: dict[str, Any] = {
        "verdict": unit.verdict,
        "score": _text(number(unit.quality.get("Score"))),
        "not_passed": ",".join(flagged) if unit.verdict else "",
        "volume_distance": _text(distance),
    }
    out |= {name: _text(number(value)) for name, value in unit.metrics.items()}
    table = label_tables.every().by_index
    out |= {
        f"score_{table[index].name}": _text(number(cells.get("score")))
        for index, cells in unit.scores.items()
        if index in table
    }
    return out


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def describe(name: str) -> dict[str, Any]:
    """Entry of the dictionary of a column."""
    if name in iqm.DEFINITIONS:
        known = iqm.DEFINITIONS[name]
        words = f"{known['definition']} ({known['source']})"
        unit = {} if known["unit"] == "1" else {"Units": known["unit"]}
        return {"LongName": known["name"], "Description": words, **unit}
    if name.startswith("score_"):
        return {"Description": f"Expected Dice of {name.removeprefix('score_')}, 0 to 1"}
    others: dict[str, dict[str, Any]] = {
        "verdict": {"Description": "Verdict of quality control", "Levels": LEVELS},
        "score": {"Description": "Expected Dice, mean of the structures, 0 to 1"},
        "not_passed": {"Description": "Checks that are not passed, by name; n/a if there are none"},
        "volume_distance": {
            "Description": "Distance of the volumes from what age and brain size let expect: root mean "
            "square of the structures' residuals, in robust standard deviations over the participants"
        },
    }
    return others[name]


def measures(units: list[Result]) -> list[dict[str, Any]]:
    """Measures of quality that the page offers: name, key, and unit."""
    known = {name for unit in units for name in unit.metrics}
    out = []
    if any(unit.verdict for unit in units):
        out.append({"name": "Expected Dice", "key": "score", "unit": ""})
    for name in PLOTTED:
        if name in known:
            entry = iqm.DEFINITIONS[name]
            unit = "" if entry["unit"] == "1" else entry["unit"]
            out.append({"name": f"{entry['name']} ({name})", "key": name, "unit": unit})
    return out


def values(unit: Result, wanted: list[dict[str, Any]]) -> list[float | None]:
    """A unit's values of the measures."""
    found = [
        number(unit.quality.get("Score")) if m["key"] == "score" else number(unit.metrics.get(m["key"]))
        for m in wanted
    ]
    return [None if value is None else float(f"{value:.5g}") for value in found]
