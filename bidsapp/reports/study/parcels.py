"""Tables of the parcels of atlases: one long table, and for every atlas and measure a wide one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ....models.io import outputs
from .. import derivatives
from ..derivatives import Result
from ..sections import parcels
from . import tables

LONG = "group_parcels.tsv"
WIDE = "group_seg-{atlas}_{measure}.tsv"

DESCRIBED: dict[str, dict[str, Any]] = {
    "atlas": {"Description": "Atlas, as in the names of files (seg-ATLAS)"},
    "index": {"Description": "Label of the parcel, as in the image"},
    "name": {"Description": "Name of the parcel"},
    "measure": {"Description": "What was measured, a column of the participant's seg-ATLAS_morph.tsv"},
    "value": {"Description": "Value of the measure: mm^3 for volumes, the unit of the map for others"},
}


def write(out_dir: Path, results: list[Result], about: dict[str, list[Any]]) -> list[Path]:
    """Write the tables of parcels; without any parcel remove them.

    Parameters
    ----------
    out_dir : Path
        Root of the derivatives.
    results : list of Result
        All participant-sessions.
    about : dict of str to list
        Columns about the participant-session.

    Returns
    -------
    list of Path
        Tables, without their dictionaries.
    """
    read = {result.key: _tables(result) for result in results}
    atlases = sorted({atlas for found in read.values() for atlas in found})
    written = []
    for atlas in atlases:
        rows = [read[result.key].get(atlas, {}) for result in results]
        measures = list(
            dict.fromkeys(name for row in rows for cells in row.values() for name in _measures(cells))
        )
        columns = _columns(rows)
        for measure in measures:
            cells = {name: [row.get(k, {}).get(measure) for row in rows] for k, name in columns.items()}
            words = f"{measure} of a parcel of {atlas}"
            described = {name: _described(f"{words} (label {k})", measure) for k, name in columns.items()}
            path = out_dir / WIDE.format(atlas=atlas, measure=measure)
            tables.write_table(path, about | cells, described)
            written.append(path)
    if atlases:
        path = out_dir / LONG
        tables.write_table(path, _long(results, read, about), DESCRIBED)
        written.append(path)
    for path in [*out_dir.glob(WIDE.format(atlas="*", measure="*")), out_dir / LONG]:
        if path not in written:
            tables.remove(path)
    return written


def _tables(result: Result) -> dict[str, dict[str, dict[str, str]]]:
    """Return the rows of the tables of parcels by atlas and index."""
    out = {}
    for atlas in parcels.found(result):
        rows = derivatives.read_tsv(result.file(outputs.ending("parcel_morph", atlas=atlas)))
        out[atlas] = {row["index"]: row for row in rows if "index" in row}
    return out


def _measures(cells: dict[str, str]) -> list[str]:
    return [name for name in cells if name not in ("index", "name")]


def _columns(rows: list[dict[str, dict[str, str]]]) -> dict[str, str]:
    """Return the column of every parcel by index: its name, with the index if another one has that name."""
    names: dict[str, str] = {}
    for row in rows:
        for index, cells in row.items():
            names.setdefault(index, cells.get("name") or index)
    count = Counter(names.values())
    ordered = sorted(names, key=lambda index: (not index.isdigit(), int(index) if index.isdigit() else 0))
    return {k: names[k] if count[names[k]] == 1 else f"{names[k]}_{k}" for k in ordered}


def _described(words: str, measure: str) -> dict[str, Any]:
    return {"Description": words, **({"Units": "mm^3"} if measure.endswith("_mm3") else {})}


def _long(
    results: list[Result], read: dict[str, dict[str, dict[str, dict[str, str]]]], about: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Return the columns of the long table: a row for every participant-session, parcel and measure."""
    who = [name for name in ("participant_id", "session_id") if name in about]
    out: dict[str, list[Any]] = {name: [] for name in (*who, *DESCRIBED)}
    for number, result in enumerate(results):
        for atlas, rows in read[result.key].items():
            for index, cells in rows.items():
                for measure in _measures(cells):
                    row = (atlas, index, cells.get("name"), measure, cells[measure])
                    for name, value in zip(out, (*(about[w][number] for w in who), *row), strict=True):
                        out[name].append(value)
    return out
