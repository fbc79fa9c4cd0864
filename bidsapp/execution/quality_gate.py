"""``--quality-gate``: an exit code for results that fail quality control."""

from __future__ import annotations

from pathlib import Path

from ..reports import derivatives
from .progress import Progress

EXIT_CODE = 4
LEVELS = {"fail": ("fail",), "check": ("fail", "check")}
"""QC ratings that do not pass, by level of the gate."""


def stopped(out_dir: Path, keys: list[str], level: str) -> dict[str, str]:
    """Return the participant-sessions with results that do not pass, and the reasons.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    keys : list of str
        The participant-sessions.
    level : {'fail', 'check'}
        The best rating that does not pass.

    Returns
    -------
    dict of str to str
        QC rating and reasons, by participant-session.
    """
    out = {}
    for key in keys:
        found = derivatives.load(out_dir, key)
        if found.state == "done" and found.qc_rating in LEVELS[level]:
            words = [str(check.get("words")) for check in found.checks if check.get("verdict") != "pass"]
            out[key] = f"{found.qc_rating}: {'; '.join(words) or 'no reason recorded'}"
    return out


def check(out_dir: Path, keys: list[str], level: str, progress: Progress) -> int:
    """Report the participant-sessions that do not pass and return the exit code.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    keys : list of str
        The participant-sessions.
    level : {'fail', 'check'}
        The best rating that does not pass.
    progress : Progress
        Shows the messages.

    Returns
    -------
    int
        0 if all pass, else ``EXIT_CODE``.
    """
    found = stopped(out_dir, keys, level)
    for key, why in found.items():
        progress.warn(f"Quality gate: {key}: {why}. See {out_dir / key}.html")
    if found:
        progress.say(f"{len(found)} of {len(keys)} did not pass the quality gate")
    return EXIT_CODE if found else 0
