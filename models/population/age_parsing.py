"""Ages in tables: texts, units and names of columns."""

from __future__ import annotations

import re
from functools import cache

YEAR = {"year": 1.0, "month": 1 / 12, "week": 1 / 52.18, "day": 1 / 365.25}
"""Years per unit of age."""

UNITS = {
    "year": r"years?|yrs?|y/?o|y|a",
    "month": r"months?|mths?|mons?|mos?|m",
    "week": r"weeks?|wks?|w",
    "day": r"days?|d",
}
"""What people write for a unit of age in lower case, as patterns."""

MISSING = ("", "n/a", "na", "n.a.", "nan", "none", "null", "unknown", "missing", "-", ".", "?")
"""Texts for an unknown value in a table."""

CODE = re.compile(r"(-\d+|8{3,}|9{3,})(\.0*)?")
"""Numbers that stand for an unknown age."""

AT_SCAN = r"(at)?(scan|mri|imaging)?(in)?(weeks?|wks?|days?)?"
GESTATIONAL = re.compile(rf"(scan)?(ga|gestationalage){AT_SCAN}|gestational(weeks|days)")
DAYS = re.compile(r"days?$")
UNCLEAR = re.compile(rf"scanage(in)?(weeks?|wks?|days?)?|(scan)?(pma|postmenstrualage){AT_SCAN}")

ANY_UNIT = "|".join(UNITS.values())
AT = r"(at|of)?(the)?(time)?(of)?(scan|mri|imaging|session|visit|acquisition|assessment|test|exam|baseline)?"
AGE = re.compile(
    rf"(subject|participant|patient|chronological|postnatal|mri)?s?age{AT}(in)?(decimal)?({ANY_UNIT})?(old)?"
)
BINNED = re.compile(
    r"age(in)?(years?|months?)?(bins?|binned|groups?|ranges?|category|class)(in)?(years?|months?)?"
)

NUMBER = r"(\d+(?:[.,]\d+)?)"
ABOUT = re.compile(r"^(?:about|approx(?:imately)?\.?|ca\.?|circa|over|~|≈|≥|≤|[<>]=?)\s*")
BEYOND = re.compile(r"\s*(?:\+|(?:or|and) (?:older|above|over|more))$")
WEEK = r"w(?:eeks?|ks?)?\.?"
DAYS_TOO = rf"(?:{WEEK}\s*(?:\+|and|,)?|\+|(?=\s\d\s*/\s*7))"
WEEKS_AND_DAYS = rf"{NUMBER}\s*?{DAYS_TOO}\s*(?:(\d+(?:\.\d+)?)\s*(?:/\s*7)?\s*(?:d(?:ays?)?|{WEEK})?)?"


@cache
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


@cache
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


@cache
def is_age(column: str) -> bool:
    """Return whether a column of this name has an age after birth, at the scan.

    Parameters
    ----------
    column : str
        Name of a column.

    Examples
    --------
    >>> [is_age(name) for name in ("age_months", "Age (years)", "age_at_scan", "Age at onset", "scan_age")]
    [True, True, True, False, False]
    """
    return bool(AGE.fullmatch(_letters(column)))


@cache
def is_binned(column: str) -> bool:
    """Return whether a column of this name has ranges of ages.

    Examples
    --------
    >>> is_binned("age (5-year bins)"), is_binned("AgeGroup"), is_binned("age")
    (True, True, False)
    """
    return bool(BINNED.fullmatch(_letters(column)))


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
    return _alone(bare, unit)


def years(text: str | None, unit: float = 1.0) -> float | None:
    """Return years from a text: 42, 89+, 35-40 (their mean), 006M, 6 months, 1y 6m, P18M, 1;6 (years;months).

    Parameters
    ----------
    text : str or None
        Text in the table.
    unit : float
        Years per unit of a number without one.

    Returns
    -------
    float or None
        Years; None if the text is no age.

    Examples
    --------
    >>> years("42"), years("89+"), years("n/a"), years("18", 1 / 12), years("35-40"), years("045Y")
    (42.0, 89.0, None, 1.5, 37.5, 45.0)
    >>> years("018M"), years("6 months"), years("1 year, 6 months"), years("1;6"), years("-9"), years("999")
    (1.5, 0.5, 1.5, 1.5, None, None)
    """
    bare = (text or "").strip().lower()
    if CODE.fullmatch(bare):
        return None
    bare = BEYOND.sub("", ABOUT.sub("", bare)).strip()
    if found := re.fullmatch(r"(\d{1,2});(\d{1,2})(?:[.;]\d+)?", bare):
        return _number(found[1]) + _number(found[2]) / 12
    ends, _, rest = _range(bare)
    if ends is not None:
        factor = _sum_of_parts(f"1{rest}") if rest else unit
        return None if factor is None else sum(ends) / 2 * factor
    return _alone(bare, unit) if re.fullmatch(NUMBER, bare) else _sum_of_parts(bare)


@cache
def unit_of(text: str) -> str:
    """Return the unit of age that a text names, such as that of a column; empty if it names none.

    Examples
    --------
    >>> unit_of("age_months"), unit_of("Age (yrs)"), unit_of("age of the child in months"), unit_of("age")
    ('month', 'year', 'month', '')
    """
    for word in re.findall(r"[a-z]+", text.lower()):
        for unit, written in UNITS.items():
            if len(word) > 1 and re.fullmatch(written, word):
                return unit
    # one word, such as ageinmonths
    glued = re.fullmatch(rf".*age(?:{AT})(?:in)?(?:decimal)?(?P<unit>{ANY_UNIT})", _letters(text))
    named = glued["unit"] if glued else ""
    return next((unit for unit, written in UNITS.items() if re.fullmatch(written, named)), "")


@cache
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
    >>> years_in("years"), years_in("mo") == 1 / 12, years_in("gestational weeks") == years_in("week")
    (1.0, True, True)
    """
    bare = unit.strip().lower()
    return YEAR.get(next((u for u, written in UNITS.items() if re.fullmatch(written, bare)), unit_of(bare)))


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


@cache
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


def _alone(text: str, unit: float) -> float | None:
    """Return the value of a number, with the marks of an open range."""
    found = re.fullmatch(rf"\s*[<>]?=?\s*{NUMBER}\s*\+?\s*", text)
    return _number(found[1]) * unit if found else None


def _range(text: str) -> tuple[tuple[float, float] | None, str, str]:
    """Return both ends of a range at the beginning of a text, the range, and what follows."""
    found = re.match(rf"({NUMBER}\s*(?:-|–|—|to)\s*{NUMBER})\s*", text)
    if found is None or _number(found[2]) >= _number(found[3]):
        return None, "", text
    return (_number(found[2]), _number(found[3])), found[1], text[found.end() :]


def _sum_of_parts(text: str) -> float | None:
    """Return the years of numbers with units, such as 1y6m."""
    total, rest = 0.0, text.removeprefix("p")
    while rest:
        found = re.match(rf"{NUMBER}\s*-?\s*({ANY_UNIT})(?![a-z])\.?\s*(?:,|and|old|of age)?\s*", rest)
        if found is None:
            return None
        total, rest = total + _number(found[1]) * (years_in(found[2]) or 0.0), rest[found.end() :]
    return total if text else None
