"""Quality of a whole study: the table, its dictionary, and outliers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...models.quality import iqm
from . import label_tables, render
from .cohort import Cohort, structures, total
from .derivatives import Result, number
from .outliers import OUTLYING, Distances, distances
from .sections.quality import short_name

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
"""Metrics that the page plots; all are in the table."""

LEVELS = {
    "pass": "All checks passed",
    "check": "Needs visual inspection",
    "fail": "Not usable without correction",
}


class Outliers:
    """Deviations of volumes from those of the other participants, adjusted for age and brain size.

    Parameters
    ----------
    cohort : Cohort
        Volumes of all participant-sessions.
    ages : dict of str to float or None
        Age by key, all in one unit of time.
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
        """Variables that the distances are adjusted for, in words."""
        return " and ".join(self.found.terms)

    def distance(self, key: str) -> float | None:
        """Return the distance from the others in robust standard deviations; None if unknown."""
        value = self.found.distance[self._row[key]] if key in self._row else math.nan
        return float(value) if math.isfinite(value) else None

    def words(self, key: str) -> list[str]:
        """Return outlying structures with their difference from the median in percent, the farthest first.

        Brain size and age may explain a part of the difference.
        """
        row = self._row.get(key)
        if row is None:
            return []
        z = self.found.z[row]
        out = []
        for k in np.argsort(-np.abs(np.nan_to_num(z))):
            if abs(np.nan_to_num(z[k])) <= OUTLYING or not self._median[k]:
                break
            percent = 100 * (self.volumes[row, k] / self._median[k] - 1)
            out.append(f"{self.names[k]} {render.signed(percent, 0)} %")
        return out


def ages(people: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Return ages by key in one unit of time: gestational weeks if all are fetal, else years.

    Examples
    --------
    >>> ages({"sub-1": {"age": None, "gestational_age": 27.0}})
    {'sub-1': 27.0}
    """
    born = any(person["age"] is not None for person in people.values())
    return {key: person["age" if born else "gestational_age"] for key, person in people.items()}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else float(value)


def columns(results: list[Result]) -> list[str]:
    """Return the columns of the table of quality, without empty ones."""
    there = {name for result in results for name in result.metrics}
    scores = {index for result in results for index in result.scores}
    names = [f"score_{label.name}" for label in label_tables.every() if label.index in scores]
    return [
        "verdict",
        "score",
        "not_passed",
        "volume_distance",
        *(n for n in iqm.DEFINITIONS if n in there),
        *names,
    ]


def row(result: Result, outliers: Outliers) -> dict[str, Any]:
    """Return the cells of a participant-session."""
    distance = outliers.distance(result.key)
    flagged = [str(check.get("name")) for check in result.checks if check.get("verdict") != "pass"]
    out: dict[str, Any] = {
        "verdict": result.qc_rating,
        "score": _text(number(result.quality.get("Score"))),
        "not_passed": ",".join(flagged) if result.qc_rating else "",
        "volume_distance": _text(distance),
    }
    out |= {name: _text(number(value)) for name, value in result.metrics.items()}
    table = label_tables.every().by_index
    out |= {
        f"score_{table[index].name}": _text(number(cells.get("score")))
        for index, cells in result.scores.items()
        if index in table
    }
    return out


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def describe(name: str) -> dict[str, Any]:
    """Return the entry of a data dictionary for a column."""
    if name in iqm.DEFINITIONS:
        known = iqm.DEFINITIONS[name]
        words = f"{known['definition']} ({known['source']})"
        unit = {} if known["unit"] == "1" else {"Units": known["unit"]}
        return {"LongName": known["name"], "Description": words, **unit}
    if name.startswith("score_"):
        return {"Description": f"Expected Dice of {name.removeprefix('score_')}, 0 to 1"}
    others: dict[str, dict[str, Any]] = {
        "verdict": {"Description": "QC rating", "Levels": LEVELS},
        "score": {"Description": "Expected Dice, mean of the structures, 0 to 1"},
        "not_passed": {
            "Description": "Names of the checks that did not pass; n/a if all passed, or without QC rating "
            "(such as after a failure)"
        },
        "volume_distance": {
            "Description": "Distance of the volumes from those expected by age and brain size: root mean "
            "square of the structures' residuals, in robust standard deviations over the participants"
        },
    }
    return others[name]


def measures(results: list[Result]) -> list[dict[str, Any]]:
    """Return the measures of quality that the page plots: name, key and unit of measurement."""
    known = {name for result in results for name in result.metrics}
    out = []
    if any(result.qc_rating for result in results):
        out.append({"name": "Expected Dice", "key": "score", "unit": ""})
    for name in PLOTTED:
        if name in known:
            entry = iqm.DEFINITIONS[name]
            unit = "" if entry["unit"] == "1" else entry["unit"]
            out.append({"name": f"{short_name(name)}: {entry['name']}", "key": name, "unit": unit})
    return out


def values(result: Result, wanted: list[dict[str, Any]]) -> list[float | None]:
    """Return the values of the measures of a participant-session."""
    found = [
        number(result.quality.get("Score")) if m["key"] == "score" else number(result.metrics.get(m["key"]))
        for m in wanted
    ]
    return [None if value is None else float(f"{value:.5g}") for value in found]
