"""Gestational ages of the subjects of a training folder, from its tables or the names of subjects."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from ...models.errors import InputError
from ...models.population.age_parsing import is_gestational, is_unclear, weeks, weeks_in

RANGE = 14.0, 45.0
"""Accepted gestational ages (weeks)."""

TABLE = "participants.tsv"


class Ages:
    """Gestational age by subject and session.

    Parameters
    ----------
    folder : Path
        Folder, optionally with ``participants.tsv`` and ``sub-X/sub-X_sessions.tsv``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = _rows(folder / TABLE)
        self.units = _units(folder / "participants.json")
        self.by_name: list[float] = []

    def __call__(self, participant: str, session: str | None) -> float:
        """Return the gestational age (weeks) of a subject.

        Parameters
        ----------
        participant : str
            Subject (``sub-X``).
        session : str or None
            Session, without ``ses-``.

        Raises
        ------
        InputError
            If the age is unknown or not that of a fetus.
        """
        path, column, text = self._written(participant, session)
        if column is None:
            return self._from_name(participant)
        found = weeks(text, weeks_in(self.units.get(column, ""), column))
        if found is None:
            raise InputError(
                path,
                f"no gestational age of {participant} ({column}: {text or 'no such row'})",
                "Write weeks, as in 28.4",
            )
        if not RANGE[0] <= found <= RANGE[1]:
            hint = f"; if it is in days, name the column {column}_days" if found > RANGE[1] else ""
            raise InputError(
                path,
                f"the gestational age of {participant} is {found:g} weeks, outside {RANGE[0]:g} to "
                f"{RANGE[1]:g}",
                f"Correct it{hint}",
            )
        return found

    def report(self) -> None:
        """Print a note if ages come from the names of subjects."""
        if self.by_name:
            low, high = min(self.by_name), max(self.by_name)
            print(
                f"note: the numbers in {len(self.by_name)} subjects' names were taken as gestational ages, "
                f"{low:g} to {high:g} weeks; {TABLE} with a column gestational_age goes first",
                flush=True,
            )

    def _written(self, participant: str, session: str | None) -> tuple[Path, str | None, str | None]:
        """Return file, column and text of an age; the column is None if no table has one."""
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
        """Return the digits of a name as weeks, as in ``sub-wu27``; zero-padded numbers are not ages."""
        digits = "".join(c for c in participant if c.isdigit())
        found = float(digits) if digits and not digits.startswith("0") else 0.0
        if not RANGE[0] <= found <= RANGE[1]:
            raise InputError(
                self.folder / TABLE,
                f"the gestational age of {participant} is unknown",
                "Write this table with the columns participant_id and gestational_age (weeks)",
            )
        self.by_name.append(found)
        return found


def _fits(row: dict[str, str], participant: str, session: str | None) -> bool:
    """Return whether a row is of a subject and session; missing columns match."""
    who, when = row.get("participant_id"), row.get("session_id")
    if who is not None and who.removeprefix("sub-") != participant.removeprefix("sub-"):
        return False
    return not when or session is None or when.removeprefix("ses-") == session


def _rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, with column names in lower case."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(path, f"the file cannot be read ({error})", "Save it as UTF-8 text") from None
    reader = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [{_plain(k): (v or "").strip() for k, v in row.items() if isinstance(k, str)} for row in reader]


def _units(path: Path) -> dict[str, str]:
    """Return the units of the columns from the JSON file of the table."""
    try:
        columns = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    described = columns.items() if isinstance(columns, dict) else ()
    return {_plain(k): str(v.get("Units")).lower() for k, v in described if isinstance(v, dict)}


def _plain(name: str) -> str:
    return name.strip().lower()
