"""Gestational ages of a training folder's subjects: from its tables, else from the subjects' names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from ...models.errors import InputError
from ...models.population.age_parsing import is_gestational, is_unclear, weeks, weeks_in

RANGE = 14.0, 45.0
"""Weeks of gestation at which a fetus may be scanned."""

TABLE = "participants.tsv"


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
        self.units = _units(folder / "participants.json")
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
        found = weeks(text, weeks_in(self.units.get(column, ""), column))
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
            named = list(rows[0]) if rows else []
            told = [*filter(is_gestational, named), *filter(is_unclear, named)]
            column = told[0] if told else None
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


def _fits(row: dict[str, str], participant: str, session: str | None) -> bool:
    """Whether a row is of a subject in a session; what it does not name fits."""
    who, when = row.get("participant_id"), row.get("session_id")
    if who is not None and who.removeprefix("sub-") != participant.removeprefix("sub-"):
        return False
    return not when or session is None or when.removeprefix("ses-") == session


def _rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table, columns in lower case."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(path, f"it cannot be read ({error})", "Save it as text, in UTF-8") from None
    reader = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{_plain(k): (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]


def _units(path: Path) -> dict[str, str]:
    """Units of the columns that the table's description gives."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    described = columns.items() if isinstance(columns, dict) else ()
    return {_plain(k): str(v.get("Units")).lower() for k, v in described if isinstance(v, dict)}


def _plain(name: str) -> str:
    return name.strip().lower()
