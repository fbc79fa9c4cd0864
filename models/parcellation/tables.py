"""Tables of atlases: labels with their names, and what is known of an atlas. Light: no image is read."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .names import AtlasName, find

COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c", "#008080")
"""Colors of parcels where the table has none, in turn."""


@dataclass(frozen=True)
class Parcel:
    """One label of an atlas: its index, name and color (``#rrggbb``)."""

    index: int
    name: str
    color: str


def read_table(path: Path) -> list[Parcel]:
    """Read a table of labels: TSV with the columns ``index`` and ``name``, and ``color`` if there is one.

    Raises
    ------
    InputError
        If columns are missing, or an index is no number or stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, f"it cannot be read ({error})", "Save it as text, UTF-8") from None
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise InputError(path, "it lacks the columns index and name", "Give a TSV file with both")
    out: dict[int, Parcel] = {}
    for row in rows:
        text = str(row["index"]).strip()
        if not text.isdigit():
            raise InputError(path, f"the index {text!r} is no label", "Give whole numbers")
        index = int(text)
        if index in out:
            raise InputError(path, f"the index {index} stands twice", "Give every label one row")
        color = str(row.get("color") or "")
        color = color if len(color) == 7 and color[0] == "#" else COLORS[index % len(COLORS)]
        out[index] = Parcel(index, str(row["name"]).strip(), color)
    return [parcel for index, parcel in sorted(out.items()) if index]


def digest(name: AtlasName) -> str:
    """Return the SHA-256 of image and table of an atlas, by which a changed atlas is known."""
    files, out = find(name), hashlib.sha256()
    for path in (files.image, files.table):
        out.update(path.read_bytes())
    return out.hexdigest()


def about(name: AtlasName) -> dict[str, Any]:
    """Return what is known of an atlas: title, source, citation and license; empty if nothing is.

    Raises
    ------
    InputError
        If its JSON file cannot be read.
    """
    path = find(name).about
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(path, f"it cannot be read ({error})", "Correct it, or remove it") from None
    return found if isinstance(found, dict) else {}
