"""Source tables: the meaning of the values of label maps for training."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from ...models.errors import InputError, MissingFileError
from ...models.population import label_sets


@dataclass(frozen=True)
class Source:
    """A source table as columns; every array is indexed by position in ``values``.

    Attributes
    ----------
    values : ndarray of int
        Label values of the maps.
    contrast : ndarray of int
        Position in ``classes``; labels of a class share one intensity distribution.
    structure : ndarray of int
        FreeSurfer id without side of the structure, 0 for background.
    side : ndarray of int
        1 left, 0 right, -1 none.
    tissue : ndarray of bool
        Whether the label belongs to the brain before closing.
    classes : ndarray of int
        Identifiers of the intensity classes.
    means : dict of str to ndarray
        Mean intensity (0-255) of every class by contrast, NaN where unknown.
    lesion : ndarray of int
        Position of the label of a lesion in the structure, -1 where no lesions are pasted.
    meta : ndarray of int
        Meta-label for subclasses of intensity, 0 for none.
    cavity : ndarray of int
        1 inside the skull, 2 veins that are inside where they lie next to the others, 0 outside
        (:mod:`brainseg.training.data.cavity`); all 0 if the table does not say.
    dark : ndarray of bool
        By class, whether it gives hardly any signal in any contrast, as cortical bone.
    outside : ndarray of bool
        By class, whether it is tissue outside the brain, whose intensities vary so much that they are mostly
        drawn at random even where the means of scanners are known.
    """

    values: np.ndarray
    contrast: np.ndarray
    structure: np.ndarray
    side: np.ndarray
    tissue: np.ndarray
    classes: np.ndarray
    means: dict[str, np.ndarray]
    lesion: np.ndarray
    meta: np.ndarray
    cavity: np.ndarray
    dark: np.ndarray
    outside: np.ndarray


NEEDED = ("source", "contrast_class", "structure", "side", "tissue_of_brain")
"""Required columns of a table of heads."""


def table_path(name: str) -> Path:
    """Return the file of a source table: a TSV file, or the name of a table that the package ships.

    Raises
    ------
    MissingFileError
        If there is no such table.
    """
    path, folder = Path(name), Path(str(files("brainseg.training") / "sources"))
    if path.suffix != ".tsv":
        path = folder / f"{name}.tsv"
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in folder.glob("*.tsv")))
        raise MissingFileError(
            name, "no such source table", f"Give a .tsv file or a shipped table: {shipped}"
        )
    return path


def table_rows(name: str, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a source table.

    Parameters
    ----------
    name : str
        TSV file, or name of a table that the package ships.
    needed : sequence of str
        Required columns.

    Raises
    ------
    InputError
        If there are no rows, a column is missing, or ``source``, ``structure`` or ``meta`` has a cell that is
        not an integer.
    """
    path = table_path(name)
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    except ValueError as error:
        raise InputError(path, f"not a text file ({error})", "Save it as tab-separated text") from None
    if not rows:
        raise InputError(path, "the source table has no rows", "Add a row for each label")
    for column in needed:
        if column not in rows[0]:
            remedy = "Add it, or choose another with --table"
            if column == "contrast_class" and {"meta", "structure"} <= set(rows[0]):
                remedy = "The table is for fetal images with labels: brainseg train fetal --maps FOLDER"
            if column == "meta":
                remedy = "Add it: 1, 2, ... or 0"
            raise InputError(None, f"the source table {name} has no column {column}", remedy)
    for column in set(needed) & {"source", "structure", "meta"}:
        wrong = [row[column] for row in rows if not re.fullmatch(r"\s*-?\d+\s*|", row[column] or "")]
        wrong += [""] if column == "source" and not all(row[column] for row in rows) else []
        if wrong:
            raise InputError(path, f"{wrong[0]!r} in column {column} is not an integer", "Correct the table")
    return rows


def source_table(name: str = "headmaps") -> Source:
    """Return a source table of heads.

    Parameters
    ----------
    name : str
        TSV file, or name of a table that the package ships.

    Raises
    ------
    MissingFileError
        If there is no such table.
    InputError
        If a column is missing or a value is not valid.
    """
    rows = table_rows(name, NEEDED)
    classes = sorted({int(row["contrast_class"]) for row in rows})
    first = {int(row["contrast_class"]): row for row in reversed(rows)}
    number = lambda text: np.nan if text == "n/a" else float(text)  # noqa: E731
    contrasts = [c for c in rows[0] if c.endswith("w") or c == "FLAIR"]
    values = [int(row["source"]) for row in rows]
    lesions = [row.get("lesion") or "n/a" for row in rows]
    return Source(
        values=np.array(values),
        lesion=np.array([-1 if text == "n/a" else values.index(int(text)) for text in lesions]),
        meta=np.array([int(row.get("meta") or 0) for row in rows]),
        cavity=np.array([int(row.get("cavity") or 0) for row in rows]),
        dark=np.array([first[k].get("dark") == "1" for k in classes]),
        outside=np.array([first[k].get("outside") == "1" for k in classes]),
        contrast=np.array([classes.index(int(row["contrast_class"])) for row in rows]),
        structure=np.array([int(row["structure"]) for row in rows]),
        side=np.array([{"left": 1, "right": 0}.get(row["side"], -1) for row in rows]),
        tissue=np.array([row["tissue_of_brain"] == "1" for row in rows]),
        classes=np.array(classes),
        means={c: np.array([number(first[k][c]) for k in classes], np.float32) for c in contrasts},
    )


def positions(values: np.ndarray, known: np.ndarray, path: Path, table: str) -> np.ndarray:
    """Return the positions of label values in a source table, as uint8.

    Parameters
    ----------
    values : ndarray of int
        Label values.
    known : ndarray of int
        Values of the source table.
    path : Path
        File of the labels, for the error message.
    table : str
        Name of the table, for the error message.

    Raises
    ------
    InputError
        If a value is missing in the table.
    """
    unknown = sorted(set(np.unique(values).tolist()) - set(known.tolist()))
    if unknown:
        raise InputError(
            path,
            f"the labels [{label_sets.shown(unknown)}] are not in the source table {table}",
            "Add them to the table, or choose another with --table",
        )
    position = np.zeros(known.max() + 1, np.uint8)
    position[known] = np.arange(len(known))
    return position[values]
