"""Gestational ages of a training folder's subjects: from its tables, else from the subjects' names."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from ..models.errors import InputError

RANGE = 14.0, 45.0
"""Weeks of gestation at which a fetus may be scanned."""

COLUMNS = (
    "gestational_age",
    "gestational_age_weeks",
    "gestational_weeks",
    "gestational_age_days",
    "gestational_age_at_scan",
    "ga",
    "ga_weeks",
    "ga_days",
    "ga_at_scan",
    "scan_age",
)
"""Columns of a gestational age, names in lower case with underscores."""

TABLE = "participants.tsv"

WRITTEN = re.compile(
    r"(\d+(?:[.,]\d+)?)\s*(?:\+|w(?:ee)?k?s?)?\s*"
    r"(?:(?<=[+wks ])(\d+(?:\.\d+)?)\s*(?:/7)?\s*d?(?:ays?)?)?",
    re.IGNORECASE,
)
"""Weeks, and days where they are written."""


class Ages:
    """Gestational age by subject and session.

    Parameters
    ----------
    folder : Path
        It may have ``participants.tsv``, and ``sub-X_sessions.tsv`` in the subjects' folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = _rows(folder / TABLE)
        self.days = _in_days(folder / "participants.json")
        self.by_name: list[float] = []

    def __call__(self, participant: str, session: str | None) -> float:
        """Weeks of gestation of a subject (``sub-X``).

        Raises
        ------
        InputError
            If they are not known, or are no fetus's.
        """
        path, column, text = self._written(participant, session)
        if column is None:
            return self._from_name(participant)
        days = column.endswith("_days") or column in self.days
        found = weeks(text or "", days)
        if found is None:
            raise InputError(
                path,
                f"{participant} has no gestational age there ({column}: {text or 'no such row'})",
                "Write weeks, as in 28.4",
            )
        if not RANGE[0] <= found <= RANGE[1]:
            hint = f"; if it is in days, call the column {column}_days" if found > RANGE[1] else ""
            raise InputError(
                path,
                f"the gestational age of {participant} is {found:g} weeks, and not within {RANGE[0]:g} to "
                f"{RANGE[1]:g}",
                f"Correct it{hint}",
            )
        return found

    def told(self) -> None:
        """Say so if ages came from names."""
        if self.by_name:
            low, high = min(self.by_name), max(self.by_name)
            print(
                f"note: the numbers in {len(self.by_name)} subjects' names were taken as gestational ages, "
                f"{low:g} to {high:g} weeks; {TABLE} with a column gestational_age goes first",
                flush=True,
            )

    def _written(self, participant: str, session: str | None) -> tuple[Path, str | None, str | None]:
        """File, column and text of an age; no column where no table has one."""
        own = self.folder / participant / f"{participant}_sessions.tsv"
        for path, rows in ((own, _rows(own)), (self.folder / TABLE, self.rows)):
            column = next((c for c in COLUMNS if rows and c in rows[0]), None)
            if column is None:
                continue
            fitting = [row for row in rows if _fits(row, participant, session)]
            exact = [row for row in fitting if row.get("session_id")] or fitting
            return path, column, exact[0][column] if exact else None
        return self.folder / TABLE, None, None

    def _from_name(self, participant: str) -> float:
        """The digits of a name, as in ``sub-wu27``; a padded number counts subjects, not weeks."""
        digits = "".join(c for c in participant if c.isdigit())
        found = float(digits) if digits and not digits.startswith("0") else 0.0
        if not RANGE[0] <= found <= RANGE[1]:
            raise InputError(
                self.folder / TABLE,
                f"the gestational age of {participant} is not known",
                "Write a table there with the columns participant_id and gestational_age (weeks)",
            )
        self.by_name.append(found)
        return found


def weeks(text: str, days: bool = False) -> float | None:
    """Weeks from what people write.

    Examples
    --------
    >>> weeks("28"), weeks("28,5 weeks"), weeks("28+3.5"), weeks("28W 7d"), weeks("196", days=True)
    (28.0, 28.5, 28.5, 29.0, 28.0)
    >>> weeks("n/a") is None
    True
    """
    found = WRITTEN.fullmatch(text.strip())
    if not found:
        return None
    whole = float(found[1].replace(",", "."))
    return whole / 7 if days else whole + float(found[2] or 0) / 7


def _fits(row: dict[str, str], participant: str, session: str | None) -> bool:
    """Whether a row is of a subject in a session; what it does not name fits."""
    who, when = row.get("participant_id"), row.get("session_id")
    if who is not None and who.removeprefix("sub-") != participant.removeprefix("sub-"):
        return False
    return not when or session is None or when.removeprefix("ses-") == session


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table, columns by their plain names."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(path, f"it cannot be read ({error})", "Save it as text, in UTF-8") from None
    reader = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{_plain(k): (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]


def _plain(name: str) -> str:
    """A column's name in lower case with underscores: ``Gestational age (weeks)``, ``GestationalAge``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z]+", "_", spaced.lower()).strip("_")


def _in_days(path: Path) -> set[str]:
    """Columns that the table's description says are in days."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return set()
    if not isinstance(columns, dict):
        return set()
    units = {k: v.get("Units") for k, v in columns.items() if isinstance(v, dict)}
    return {_plain(k) for k, unit in units.items() if str(unit).lower().startswith("day")}
