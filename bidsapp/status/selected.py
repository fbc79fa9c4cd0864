"""Participants that the runs into an output folder selected, from the settings that each run stored."""

from __future__ import annotations

import tomllib
from pathlib import Path

NO_PROCESSING = ("reports_only", "boilerplate_only", "resume_failed")
"""Settings of runs that select nobody for the first time."""

NEEDED = ("analysis_level", "participant_label", *NO_PROCESSING)
"""Settings that are read; each has its line."""


def participants(out_dir: Path) -> set[str] | None:
    """Return the participants that were selected, or None if a run selected all, or no run is known.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.

    Returns
    -------
    set of str or None
        Their labels without ``sub-``.
    """
    out: set[str] = set()
    known = False
    for path in Path(out_dir).glob("logs/*/brainseg.toml"):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            # An array of jobs leaves one file for each participant: the other settings are not parsed.
            settings = tomllib.loads("\n".join(line for line in lines if line.startswith(NEEDED)))
        except (OSError, ValueError):
            continue
        levels = settings.get("analysis_level")
        if "participant" not in (levels if isinstance(levels, list) else [levels]):
            continue
        if any(settings.get(name) for name in NO_PROCESSING):
            continue
        labels = settings.get("participant_label")
        if not isinstance(labels, list):
            return None
        known = True
        out |= {str(label).removeprefix("sub-") for label in labels}
    return out if known else None
