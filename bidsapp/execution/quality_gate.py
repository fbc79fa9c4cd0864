"""``--quality-gate``: results that do not pass quality control set the exit code."""

from __future__ import annotations

from pathlib import Path

from ..reports import derivatives
from .progress import Progress

EXIT_CODE = 4
LEVELS = {"fail": ("fail",), "check": ("fail", "check")}
"""Verdicts that do not pass, by how strict the gate is."""


def stopped(out_dir: Path, keys: list[str], level: str) -> dict[str, str]:
    """Return the participant-sessions that do not pass, with the reasons; those without results are left out.

    Parameters
    ----------
    out_dir : Path
        The derivatives' root.
    keys : list of str
        The participant-sessions.
    level : {'fail', 'check'}
        The mildest verdict that does not pass.
    """
    out = {}
    for key in keys:
        found = derivatives.load(out_dir, key)
        if found.state == "done" and found.qc_rating in LEVELS[level]:
            words = [str(check.get("words")) for check in found.checks if check.get("verdict") != "pass"]
            out[key] = f"{found.qc_rating}: {'; '.join(words) or 'no reason was recorded'}"
    return out


def check(out_dir: Path, keys: list[str], level: str, progress: Progress) -> int:
    """Say who does not pass; returns the exit code of the gate, 0 if all do."""
    found = stopped(out_dir, keys, level)
    for key, why in found.items():
        progress.warn(f"Quality gate: {key}: {why}. See {out_dir / key}.html")
    if found:
        progress.say(f"{len(found)} of {len(keys)} did not pass the quality gate")
    return EXIT_CODE if found else 0
