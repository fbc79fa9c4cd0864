"""Label tables of the derivatives: a unit's own, and that of all units together."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from ...models.population import labels, populations
from ...models.population.labels import LabelTable

DEFAULT = "adult"
"""Table of a unit of which nothing is known."""


@cache
def names() -> tuple[str, ...]:
    """Names of the label tables of all populations, the default first.

    Examples
    --------
    >>> names()
    ('adult', 'fetal', 'fetal-callosum')
    """
    records = [populations.load(name) for name in populations.names()]
    found = [name for record in records for name in (record.labels, *record.parts.values()) if name]
    return tuple(dict.fromkeys([DEFAULT, *found]))


@cache
def every() -> LabelTable:
    """The tables of all populations in one: an index means the same in each that has it."""
    rows = {label.index: label for name in reversed(names()) for label in labels.load(name)}
    return LabelTable(list(rows.values()))


def of(indices: Iterable[int]) -> LabelTable:
    """The first table that has all these indices; the default where none has.

    Examples
    --------
    >>> of([3, 17]) is labels.load("adult"), of([3, 9, 48]) is labels.load("fetal")
    (True, True)
    """
    wanted = set(indices)
    tables = [labels.load(name) for name in names()]
    return next((table for table in tables if wanted <= set(table.by_index)), tables[0])
