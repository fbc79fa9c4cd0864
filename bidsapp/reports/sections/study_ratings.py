"""Ratings by readers on the group page and in its tables, with the decision on every participant-session."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...ratings import decisions, files
from ...ratings.agreement import Agreement, agreements
from ...ratings.decisions import Decision, Found
from ..derivatives import Result

COLUMNS: dict[str, dict[str, Any]] = {
    "manual_rating": {
        "Description": "Rating by the readers of the reports",
        "Levels": {
            "pass": "All say that it is usable",
            "check": "All are unsure",
            "fail": "All say that it is not usable",
            "mixed": "They disagree",
        },
    },
    "raters": {"Description": "Readers who rated it"},
    "decision": {"Description": "Decision on the participant-session", "Levels": decisions.MEANING},
}
"""Columns of ``group_quality.tsv``."""


def describe(name: str) -> dict[str, Any]:
    """Return the entry of a data dictionary for a column of ratings; empty for other columns."""
    return COLUMNS.get(name, {})


@dataclass(frozen=True)
class Judged:
    """Ratings and decisions of a study.

    Attributes
    ----------
    out_dir : Path
        Root of the derivatives.
    decisions : dict of str to Decision
        By participant-session.
    agreements : list of Agreement
        Of the raters.
    problems : list of str
        Files with ratings that were ignored, and why.
    """

    out_dir: Path
    decisions: dict[str, Decision]
    agreements: list[Agreement]
    problems: list[str]

    @classmethod
    def of(cls, out_dir: Path, results: list[Result]) -> Judged:
        """Read the ratings of an output folder and decide.

        Parameters
        ----------
        out_dir : Path
            Root of the derivatives.
        results : list of Result
            Its participant-sessions.
        """
        ratings, problems = files.read(out_dir, {result.key for result in results})
        found = {result.key: _found(result) for result in results}
        automatic = {key: known.level for key, known in found.items()}
        return cls(out_dir, decisions.decide(found, ratings), agreements(ratings, automatic), problems)

    def write(self) -> None:
        """Write the list of exclusions, and the agreement if there are ratings."""
        decisions.write_exclusions(self.out_dir, self.decisions)
        decisions.write_agreement(self.out_dir, self.agreements)

    @property
    def rated(self) -> bool:
        """Whether there are ratings by readers."""
        return any(one.levels for one in self.decisions.values())

    @property
    def columns(self) -> dict[str, list[Any]]:
        """Columns of the table of quality; those of readers only if there are ratings."""
        all_of = list(self.decisions.values())
        manual = {
            "manual_rating": [one.manual for one in all_of],
            "raters": [", ".join(one.raters) for one in all_of],
        }
        known = {"decision": [one.decision for one in all_of]} if any(one.decision for one in all_of) else {}
        return (manual if self.rated else {}) | known

    @property
    def context(self) -> dict[str, Any]:
        """What the page shows."""
        count = Counter(one.decision for one in self.decisions.values())
        names = (decisions.INCLUDE, decisions.REVIEW, decisions.EXCLUDE)
        return {
            "decisions": self.decisions,
            "decision_counts": [(name, count[name]) for name in names]
            if any(count[n] for n in names)
            else [],
            "decision_words": decisions.MEANING,
            "agreements": self.agreements,
            "rating_problems": self.problems,
            "rating_folder": files.FOLDER,
        }


def _found(result: Result) -> Found:
    """Return what is known of a participant-session without readers."""
    if result.state == "failed":
        return Found(reason=result.error.get("reason", ""), failed=True)
    flagged = [str(check.get("words", "")) for check in result.checks if check.get("verdict") != "pass"]
    return Found(result.qc_rating, "; ".join(flagged))
