"""Facts of a participant-session that were decided when it was selected, read from its status file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...models.population.populations import WEEKS, YEARS


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
    """

    population: str = ""
    label_table: str = ""
    age: float | None = None
    age_unit: str = YEARS
    reference: str = ""
    inferred: bool = False

    @property
    def gestational_age(self) -> float | None:
        """Gestational age at the scan (weeks); None after birth, or if it is not known."""
        return self.age if self.age_unit == WEEKS else None


def facts_of(content: dict[str, Any]) -> Facts:
    """Return the facts in the content of a status file; a damaged value counts as missing.

    Examples
    --------
    >>> facts_of({"population": "fetal", "age": 27.0, "age_unit": "gestational weeks"}).gestational_age
    27.0
    >>> facts_of({"age": 32.0, "gestational_age": 27.0})
    Facts(population='', label_table='', age=27.0, age_unit='gestational weeks', reference='', inferred=True)
    """
    inferred = not isinstance(content.get("population"), str)
    before_birth = content.get("age_unit") == WEEKS
    age = content.get("age")
    if inferred and _number(content.get("gestational_age")) is not None:
        before_birth, age = True, content["gestational_age"]
    return Facts(
        population=_text(content.get("population")),
        label_table=_text(content.get("label_table")),
        age=_number(age),
        age_unit=WEEKS if before_birth else YEARS,
        reference=_text(content.get("reference")) or _text(content.get("image")),
        inferred=inferred,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None
