"""Ages in tables: texts, units and names of columns."""

from __future__ import annotations

import re

YEAR = {"year": 1.0, "month": 1 / 12, "week": 1 / 52.18, "day": 1 / 365.25}
"""Years per unit of age."""

MISSING = ("", "n/a", "na", "nan", "none", "unknown")
"""Texts for an unknown value in a table."""

AT_SCAN = r"(at)?(scan|mri|imaging)?(in)?(weeks?|wks?|days?)?"
GESTATIONAL = re.compile(rf"(scan)?(ga|gestationalage){AT_SCAN}|gestational(weeks|days)")
DAYS = re.compile(r"days?$")
UNCLEAR = re.compile(rf"scanage(in)?(weeks?|wks?|days?)?|(scan)?(pma|postmenstrualage){AT_SCAN}")

NUMBER = r"(\d+(?:[.,]\d+)?)"
WEEK = r"w(?:eeks?|ks?)?\.?"
DAYS_TOO = rf"(?:{WEEK}\s*(?:\+|and|,)?|\+|(?=\s\d\s*/\s*7))"
WEEKS_AND_DAYS = rf"{NUMBER}\s*?{DAYS_TOO}\s*(?:(\d+(?:\.\d+)?)\s*(?:/\s*7)?\s*(?:d(?:ays?)?|{WEEK})?)?"


def is_gestational(column: str) -> bool:
    """Return whether a column of this name has the gestational age at the scan.

    Parameters
    ----------
    column : str
        Name of a column.

    Returns
    -------
    bool
        Whether the name is one of a gestational age.

    Examples
    --------
    >>> [is_gestational(name) for name in ("Gestational age", "GA (weeks)", "ga_at_birth", "age")]
    [True, True, False, False]
    """
    return bool(GESTATIONAL.fullmatch(_letters(column)))


def is_unclear(column: str) -> bool:
    """Return whether a column has a postmenstrual age, which is defined before and after birth.

    Parameters
    ----------
    column : str
        Name of a column.

    Returns
    -------
    bool
        Whether the name leaves open if the scan is before birth.

    Examples
    --------
    >>> [is_unclear(name) for name in ("scan_age", "PMA", "postmenstrual_age_days", "age")]
    [True, True, True, False]
    """
    return bool(UNCLEAR.fullmatch(_letters(column)))


def weeks(text: str | None, unit: float = 1.0) -> float | None:
    """Return gestational weeks from a text: 28, 28.4, 28+3, 28w3d, 28 3/7, 28 weeks, 196 days.

    Parameters
    ----------
    text : str or None
        Text in the table.
    unit : float
        Weeks per unit of a bare number.

    Returns
    -------
    float or None
        Weeks; None if the text is no age.

    Examples
    --------
    >>> weeks("28+3.5"), weeks("28 Weeks"), weeks("196", 1 / 7), weeks("n/a")
    (28.5, 28.0, 28.0, None)
    """
    bare = re.sub(r"^ga\s*[:=]?\s*(?=\d)", "", (text or "").strip().lower())
    if found := re.fullmatch(WEEKS_AND_DAYS, bare):
        days = float(found[2] or 0)
        return _number(found[1]) + days / 7 if days < 7 else None
    if found := re.fullmatch(rf"{NUMBER}\s*d(?:ays?)?", bare):
        return _number(found[1]) / 7
    return years(bare, unit)


def years(text: str | None, unit: float = 1.0) -> float | None:
    """Return years from a text.

    Parameters
    ----------
    text : str or None
        Text in the table.
    unit : float
        Years per unit of the number.

    Returns
    -------
    float or None
        Years; None if the text is no age.

    Examples
    --------
    >>> years("42"), years("89+"), years("n/a"), years("18", 1 / 12)
    (42.0, 89.0, None, 1.5)
    """
    found = re.fullmatch(rf"\s*[<>]?=?\s*{NUMBER}\s*\+?\s*", text or "")
    return _number(found[1]) * unit if found else None


def years_in(unit: str) -> float | None:
    """Return the years in a unit of age.

    Parameters
    ----------
    unit : str
        Name of the unit.

    Returns
    -------
    float or None
        Years; None if the name is no unit of age.

    Examples
    --------
    >>> years_in("years"), years_in("months") == 1 / 12, years_in("gestational weeks") == years_in("week")
    (1.0, True, True)
    """
    found = re.match(r"(?:gestational\s+)?(year|month|week|day)", unit)
    return YEAR[found[1]] if found else None


def weeks_in(unit: str, column: str) -> float:
    """Return the weeks in the unit of a column; the unit takes precedence over the column's name.

    Parameters
    ----------
    unit : str
        Unit of the column; may be empty.
    column : str
        Name of the column.

    Returns
    -------
    float
        Weeks; 1 if the unit is unknown.

    Examples
    --------
    >>> weeks_in("days", "ga") == weeks_in("", "ga_days") == 1 / 7, weeks_in("weeks", "ga_days")
    (True, 1.0)
    """
    in_days = years_in(unit) == YEAR["day"] if years_in(unit) else bool(DAYS.search(_letters(column)))
    return 1 / 7 if in_days else 1.0


def is_before_birth(unit: str) -> bool:
    """Return whether a unit is one of gestational age, such as ``weeks of gestation``.

    Parameters
    ----------
    unit : str
        Name of the unit.

    Returns
    -------
    bool
        Whether ages in this unit are gestational.
    """
    return "gestation" in unit


def _letters(column: str) -> str:
    return re.sub(r"[^a-z]+", "", column.lower())


def _number(text: str) -> float:
    return float(text.replace(",", "."))
