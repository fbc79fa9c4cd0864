"""Decisions on participant-sessions: include, review or exclude, with the tables of the study."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...interfaces.io import files as tables
from .agreement import Agreement
from .files import Rating

INCLUDE, REVIEW, EXCLUDE = "include", "review", "exclude"
BY_LEVEL = {"pass": INCLUDE, "check": REVIEW, "fail": EXCLUDE}
"""Decision by the automatic QC rating where nobody rated."""

MEANING = {
    INCLUDE: "All readers, or without any the automatic QC rating, say pass",
    REVIEW: "Readers disagree or are unsure, or the automatic QC rating is check",
    EXCLUDE: "Most readers, or without any the automatic QC rating, say fail; or processing failed",
}
EXCLUSIONS = {
    "participant_id": "Participant",
    "session_id": "Session; n/a without sessions",
    "source": "What decided: readers, the automatic QC rating, or a failure of the processing",
    "raters": "Readers who rated it",
    "reason": "Problems that the readers selected and their comments, checks that failed, or the failure",
}
AGREEMENT = {
    "rater_1": "Reader",
    "rater_2": "Another reader, or automatic: the QC rating of the program",
    "count": "Number of participant-sessions that both rated",
    "agreement": "Share of them with the same rating, 0 to 1",
    "kappa": "Cohen's kappa with linear weights (pass, check, fail); n/a if it is not defined",
}


@dataclass(frozen=True)
class Found:
    """What is known of a participant-session without readers.

    Attributes
    ----------
    level : str
        Automatic QC rating; empty without one.
    reason : str
        Checks that did not pass, or the failure.
    failed : bool
        Whether its processing failed.
    """

    level: str = ""
    reason: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Decision:
    """The decision on a participant-session.

    Attributes
    ----------
    key : str
        The participant-session.
    decision : str
        ``include``, ``review`` or ``exclude``; empty if nothing is known.
    source : str
        ``readers``, ``automatic`` or ``processing``.
    levels : tuple of str
        Ratings of the readers.
    raters : tuple of str
        The readers.
    reason : str
        Why it is not included.
    """

    key: str
    decision: str
    source: str
    levels: tuple[str, ...] = ()
    raters: tuple[str, ...] = ()
    reason: str = ""

    @property
    def manual(self) -> str:
        """The rating that all readers gave, else ``mixed``; empty if nobody rated it."""
        return self.levels[0] if len(set(self.levels)) == 1 else "mixed" if self.levels else ""


def decide(found: Mapping[str, Found], ratings: Sequence[Rating]) -> dict[str, Decision]:
    """Return the decision on every participant-session.

    Parameters
    ----------
    found : mapping of str to Found
        The participant-sessions.
    ratings : sequence of Rating
        Ratings by readers, which go before the automatic ones.
    """
    by_key = defaultdict(list)
    for rating in ratings:
        by_key[rating.key].append(rating)
    return {key: _decide(key, known, by_key[key]) for key, known in found.items()}


def _decide(key: str, found: Found, ratings: list[Rating]) -> Decision:
    if found.failed:
        return Decision(key, EXCLUDE, "processing", reason=found.reason)
    if not ratings:
        decision = BY_LEVEL.get(found.level, "")
        return Decision(key, decision, "automatic", reason="" if decision == INCLUDE else found.reason)
    levels = tuple(rating.level for rating in ratings)
    decision = REVIEW
    if set(levels) == {"pass"}:
        decision = INCLUDE
    elif 2 * levels.count("fail") > len(levels):
        decision = EXCLUDE
    bad = [rating for rating in ratings if rating.level != "pass"]
    said = [word for rating in bad for word in (*rating.artifacts, rating.comment) if word]
    raters = tuple(rating.rater for rating in ratings)
    return Decision(key, decision, "readers", levels, raters, "; ".join(dict.fromkeys(said)))


def write_exclusions(out_dir: Path, decisions: Mapping[str, Decision]) -> list[Decision]:
    """Write ``group_exclusions.tsv`` with its dictionary and return the excluded participant-sessions.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    decisions : mapping of str to Decision
        The decisions.
    """
    out = [one for one in decisions.values() if one.decision == EXCLUDE]
    rows = []
    for one in out:
        participant, _, label = one.key.partition("_ses-")
        session = f"ses-{label}" if label else ""
        rows.append((participant, session, one.source, ", ".join(one.raters), one.reason))
    _write(Path(out_dir) / "group_exclusions.tsv", EXCLUSIONS, rows)
    return out


def write_agreement(out_dir: Path, found: Sequence[Agreement]) -> None:
    """Write ``group_agreement.tsv`` with its dictionary; without ratings by readers remove them.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    found : sequence of Agreement
        Agreement of the raters.
    """
    path = Path(out_dir) / "group_agreement.tsv"
    if not found:
        for old in (path, path.with_suffix(".json")):
            old.unlink(missing_ok=True)
        return
    rows = [
        (*one.raters, one.count, f"{one.share:.3f}", "" if one.kappa is None else f"{one.kappa:.3f}")
        for one in found
    ]
    _write(path, AGREEMENT, rows)


def _write(path: Path, columns: dict[str, str], rows: list[tuple[Any, ...]]) -> None:
    cells = [tuple(" ".join(str(cell).split()) or "n/a" for cell in row) for row in rows]
    tables.write_table(path, tuple(columns), cells)
    tables.write_json(path.with_suffix(".json"), {n: {"Description": words} for n, words in columns.items()})
