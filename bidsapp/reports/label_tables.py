"""All label tables in one, for tables and pages of a whole study."""

from __future__ import annotations

from functools import cache

from ...models.population import labels
from ...models.population.labels import LabelTable
from ..status import facts


@cache
def every() -> LabelTable:
    """Return the tables of all populations in one; an index means the same in each table that has it."""
    names = reversed(facts.label_tables())
    rows = {label.index: label for name in names for label in labels.load(name)}
    return LabelTable(list(rows.values()))
