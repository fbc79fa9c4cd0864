"""Facts of a participant-session that were decided when it was selected, read from its status file."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...models.population import labels, populations
from ...models.population.populations import WEEKS, YEARS

DEFAULT = "adult"
"""Population and label table if nothing is known."""


@dataclass(frozen=True)
class Facts:
    """What selection decided.

    Attributes
    ----------
    population, label_table : str
        Names; empty if the status file does not have them.
    age : float or None
        Age at the scan, in ``age_unit``.
    age_unit : str
        ``years`` or ``gestational weeks``.
    reference : str
        Path of the reference image.
    inferred : bool
        Whether the status file, of an earlier version, lacks them, so that they are inferred.
    estimated : bool
        Whether the age is an estimate from the volumes.
    """

    population: str = ""
    label_table: str = ""
    age: float | None = None
    age_unit: str = YEARS
    reference: str = ""
    inferred: bool = False
    estimated: bool = False

    @property
    def gestational_age(self) -> float | None:
        """Gestational age at the scan (weeks); None after birth, or if it is not known."""
        return self.age if self.age_unit == WEEKS else None


def facts_of(
    content: dict[str, Any], *, indices: Iterable[int] = (), sidecar: dict[str, Any] | None = None
) -> Facts:
    """Return the facts in the content of a status file; a damaged value counts as missing.

    Status files of earlier versions lack population and label table. Both are then inferred from the
    derivatives, and ``inferred`` is set.

    Parameters
    ----------
    content : dict
        Content of the status file; empty without one.
    indices : iterable of int
        Label indices in the table of volumes.
    sidecar : dict, optional
        Metadata of the table of volumes; its age is used if the status file has none.

    Examples
    --------
    >>> facts_of({"population": "fetal", "age": 27.0, "age_unit": "gestational weeks"}).gestational_age
    27.0
    >>> found = facts_of({"age": 32.0, "gestational_age": 27.0}, indices=[3, 9, 48])
    >>> found.population, found.label_table, found.age, found.age_unit, found.inferred
    ('fetal', 'fetal', 27.0, 'gestational weeks', True)
    """
    population, table = _text(content.get("population")), _text(content.get("label_table"))
    inferred = population not in populations.valid()
    age, unit = _number(content.get("age")), _text(content.get("age_unit"))
    if inferred and (weeks := _number(content.get("gestational_age"))) is not None:
        age, unit = weeks, WEEKS
    measured = (sidecar or {}).get("Age")
    estimated = False
    if isinstance(measured, dict) and (age is None or (inferred and unit != measured.get("Units") == WEEKS)):
        found = _number(measured.get("Value"))
        if found is not None:
            age, unit, estimated = found, _text(measured.get("Units")), bool(measured.get("Estimated"))
    unit = unit if unit in (WEEKS, YEARS) else YEARS  # JSON files have "year"
    if inferred:
        population, table = _infer(indices, unit)
    elif table not in label_tables():
        table = populations.load(population).labels or DEFAULT
    return Facts(
        population=population,
        label_table=table,
        age=age,
        age_unit=unit,
        reference=_text(content.get("reference")) or _text(content.get("image")),
        inferred=inferred,
        estimated=estimated,
    )


@cache
def label_tables() -> tuple[str, ...]:
    """Return the names of the label tables of all populations, the default first.

    Examples
    --------
    >>> label_tables()
    ('adult', 'fetal', 'fetal-callosum')
    """
    records = [populations.load(name) for name in populations.valid()]
    found = [name for record in records for name in (record.labels, *record.parts.values()) if name]
    return tuple(dict.fromkeys([DEFAULT, *found]))


def _infer(indices: Iterable[int], unit: str) -> tuple[str, str]:
    """Return the first population and label table with all indices, those with this unit of age first."""
    wanted = set(indices)
    records = [populations.load(name) for name in dict.fromkeys([DEFAULT, *populations.valid()])]
    records.sort(key=lambda record: record.age_unit != unit)
    for record in records:
        for table in filter(None, (record.labels, *record.parts.values())):
            if wanted <= set(labels.load(table).by_index):
                return record.name, table
    return DEFAULT, DEFAULT


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None
