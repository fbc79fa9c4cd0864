"""Read the ratings that readers saved from the reports."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = "ratings"
"""Folder of the output folder with the saved files, at any depth."""

LEVELS = ("pass", "check", "fail")
"""Ratings from good to bad; a reader's *check* is *unsure*."""

NOBODY = "unnamed"
"""Rater of files without a name."""


@dataclass(frozen=True)
class Rating:
    """What one reader said of one participant-session.

    Attributes
    ----------
    key : str
        ``sub-01`` or ``sub-01_ses-02``.
    rater : str
        Name of the reader.
    level : str
        One of ``LEVELS``.
    artifacts : tuple of str
        Problems that the reader selected.
    comment, time : str
        As saved.
    """

    key: str
    rater: str
    level: str
    artifacts: tuple[str, ...] = ()
    comment: str = ""
    time: str = ""


def read(out_dir: Path, keys: Collection[str]) -> tuple[list[Rating], list[str]]:
    """Return the ratings in ``ratings/``, the latest of each reader, and what could not be used.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    keys : collection of str
        The participant-sessions in it.

    Returns
    -------
    ratings : list of Rating
        One for each reader and participant-session, in this order of names.
    problems : list of str
        Files or ratings that were ignored, and why.
    """
    latest: dict[tuple[str, str], Rating] = {}
    problems: list[str] = []
    root = Path(out_dir) / FOLDER
    for path in sorted(root.rglob("*.json")):
        name = path.relative_to(root.parent).as_posix()
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{name} cannot be read ({type(error).__name__}); save it again")
            continue
        for item in content if isinstance(content, list) else [content]:
            rating = _rating(item, name, keys, problems)
            if rating is not None:
                known = latest.get((rating.rater, rating.key))
                latest[rating.rater, rating.key] = max(known or rating, rating, key=lambda one: one.time)
    return [latest[place] for place in sorted(latest)], problems


def _rating(item: Any, name: str, keys: Collection[str], problems: list[str]) -> Rating | None:
    """Return one rating of a file; None if it says nothing or is not a rating."""
    if not isinstance(item, dict) or "participant_id" not in item:
        problems.append(f"{name} is not a rating that a report saved")
        return None
    key = _key(item)
    if key not in keys:
        problems.append(f"{name}: {key} is not in the output folder")
        return None
    level = item.get("rating")
    if level in (None, "", "n/a"):
        return None  # a comment without a rating
    if level not in LEVELS:
        problems.append(f"{name}: the rating of {key} is {level!r}, not {', '.join(LEVELS)}")
        return None
    artifacts = item.get("artifacts")
    return Rating(
        key,
        _text(item.get("rater")) or NOBODY,
        level,
        tuple(map(_text, artifacts)) if isinstance(artifacts, list) else (),
        _text(item.get("comment")),
        _text(item.get("time")),
    )


def _key(item: dict[str, Any]) -> str:
    """Return the participant-session of a rating."""
    participant = re.sub(r"^(sub-)?", "sub-", _text(item["participant_id"]))
    session = _text(item.get("session_id"))
    return participant if session in ("", "n/a") else participant + re.sub(r"^(ses-)?", "_ses-", session)


def _text(value: Any) -> str:
    return " ".join(str(value).split()) if value is not None else ""
