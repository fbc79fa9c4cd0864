"""Label tables of users: a TSV with ``index`` and ``name``, completed to the columns of shipped tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError

COLORS = ("#cd3e4e", "#f5f5f5", "#3c78c8", "#e6c814", "#781286", "#00c8a0", "#e69422", "#78be96", "#a07832")
"""Colors of labels without one, in turn."""

TISSUES_BY_NAME = {
    "gm": "gm",
    "gray matter": "gm",
    "grey matter": "gm",
    "wm": "wm",
    "white matter": "wm",
    "csf": "csf",
    "cerebrospinal fluid": "csf",
    "ventricles": "ventricles",
    "deep gm": "deepgm",
    "deep gray matter": "deepgm",
    "deep grey matter": "deepgm",
}
"""Tissues that are recognized by the name of a label where the table has no column ``tissue``."""

LARGEST = 32000
"""Largest index: label images are stored as int16."""


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table file (TSV).

    Raises
    ------
    UsageError
        If it cannot be read, or has no columns ``index`` and ``name``.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(path, f"the label table cannot be read ({error})", "Give a TSV file") from None
    return list(csv.DictReader(text.splitlines(), delimiter="\t"))


def complete(
    rows: Sequence[Mapping[str, Any]], where: str | Path, tissues: Collection[str]
) -> list[dict[str, str]]:
    """Return rows with all columns of a label table, background first.

    Parameters
    ----------
    rows : sequence of mapping
        Rows with ``index`` and ``name``, and optionally ``abbreviation``, ``color``, ``tissue``, ``partner``
        and the other columns of shipped tables.
    where : path-like
        File, for error messages.
    tissues : collection of str
        Names of the tissues.

    Raises
    ------
    UsageError
        If a column is missing, or an index or tissue is not valid.

    Examples
    --------
    >>> rows = complete([{"index": 1, "name": "White matter"}, {"index": 2, "name": "Cyst"}], "t.tsv", ["wm"])
    >>> [(row["index"], row["tissue"], row["color"]) for row in rows]
    [('0', 'background', '#000000'), ('1', 'wm', '#cd3e4e'), ('2', '', '#f5f5f5')]
    """
    remedy = "A label table is a TSV file with the columns index and name (also: tissue, color, partner)"
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise UsageError(where, "the label table has no columns index and name", remedy)
    out: dict[int, dict[str, str]] = {}
    for number, given in enumerate(rows):
        row = {str(key): str(value).strip() for key, value in given.items() if value is not None}
        text = row.get("index", "")
        if not re.fullmatch(r"\d{1,5}", text) or int(text) > LARGEST:
            raise UsageError(where, f"{text!r} in column index is not a label (0 to {LARGEST})", remedy)
        if int(text) in out:
            raise UsageError(where, f"the label {int(text)} has two rows", "Keep one of them")
        out[int(text)] = _completed(row, int(text), number, where, tissues)
    out.setdefault(0, _completed({"name": "Background", "color": "#000000"}, 0, 0, where, tissues))
    if len(out) < 2:
        raise UsageError(where, "the label table has no label but the background", remedy)
    _complete_partners(out, where, remedy)
    return [out[index] for index in sorted(out)]


def _complete_partners(out: Mapping[int, dict[str, str]], where: str | Path, remedy: str) -> None:
    """Set the partner of every row, in place: as given, of the row that names it, or by the names."""
    names = {row["name"]: row["index"] for row in out.values()}
    rows = {row["index"]: row for row in out.values()}
    given = {}
    for row in out.values():
        if not row.get("partner"):
            continue
        if row["partner"] not in rows:
            raise UsageError(where, f"the partner {row['partner']} of {row['name']} is no label", remedy)
        given[row["partner"]] = row["index"]
    for row in out.values():
        by_name = names.get(other_side(row["name"]), row["index"])
        row["partner"] = row.get("partner") or given.get(row["index"]) or by_name
    for row in out.values():
        other = rows[row["partner"]]
        if other["partner"] != row["index"]:
            reason = f"{other['name']} is the partner of {row['name']}, but not the other way round"
            raise UsageError(where, reason, "Give each of two sides the index of the other as its partner")


def _completed(
    row: dict[str, str], index: int, number: int, where: str | Path, tissues: Collection[str]
) -> dict[str, str]:
    """Return a row with all columns but the partner."""
    name = row.get("name") or f"Label-{index}"
    color = row.get("color") or COLORS[number % len(COLORS)]
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
        raise UsageError(where, f"the color {color!r} of {name} is not valid", "Write it as #cd3e4e")
    tissue = (
        row["tissue"] if "tissue" in row else TISSUES_BY_NAME.get(re.sub("[-_ ]+", " ", name.lower()), "")
    )
    tissue = "background" if index == 0 else "" if tissue == "n/a" else tissue
    if tissue and tissue not in (*tissues, "background"):
        raise UsageError(where, f"unknown tissue {tissue!r} of {name}", f"Use {', '.join(tissues)} or n/a")
    initials = "".join(word[:1] for word in re.split(r"[^0-9A-Za-z]+", name))
    made = {
        "index": str(index),
        "name": name,
        "abbreviation": row.get("abbreviation") or (name if len(name) < 6 else initials.upper()),
        "color": color,
        "mapping": row.get("mapping") or str(index),
        "tissue": tissue,
    }
    return row | made


def other_side(name: str) -> str:
    """Return the name of the structure on the other side; empty without side.

    Examples
    --------
    >>> other_side("Left-Amygdala"), other_side("rh_cortex"), other_side("Brainstem")
    ('Right-Amygdala', 'lh_cortex', '')
    """
    for one, other in (("left", "right"), ("lh", "rh")):
        for own, opposite in ((one, other), (other, one)):
            if found := re.search(rf"(?<![a-z]){own}(?![a-z])", name, re.IGNORECASE):
                word = found[0]
                changed = (
                    opposite.title() if word.istitle() else opposite.upper() if word.isupper() else opposite
                )
                return name[: found.start()] + changed + name[found.end() :]
    return ""
