"""Label tables: the single source of truth for structures, tissues, colors and left/right partners.

A table is a TSV in BIDS form (``index name abbreviation color mapping``) with the further columns ``tissue``,
``partner`` and ``pieces`` for structures. Networks predict *unsided* structures (the left index stands for
both sides); the side is added afterwards. The column ``part_of`` maps a finer structure to one of a coarser
table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from ..data import FOLDER

TISSUES = ("background", "gm", "wm", "ventricles", "csf", "deepgm")
"""Names of the six tissues, in the order of the tissue decoder's outputs."""

DSEG = {"background": 0, "gm": 1, "deepgm": 1, "wm": 2, "ventricles": 3, "csf": 3}
"""Value of every tissue in a BIDS ``dseg``: 1 GM, 2 WM, 3 CSF."""

DSEG_NAMES = ("GM", "WM", "CSF")
"""Names of the tissues of a BIDS ``dseg`` in the order of their values 1, 2, 3 (``dseg.tsv``)."""


@dataclass(frozen=True)
class Label:
    """One row of a label table; ``pieces`` is ``one`` for a structure of one piece on either side."""

    index: int
    name: str
    abbreviation: str
    color: str
    mapping: int
    tissue: str
    partner: int
    pieces: str = "many"
    part_of: int = -1


class LabelTable:
    """A label table by index, with the arrays that networks and reports need.

    Parameters
    ----------
    labels : list of Label
        The rows; index 0 is background.
    """

    def __init__(self, labels: list[Label]) -> None:
        self.labels = sorted(labels, key=lambda label: label.index)
        self.by_index = {label.index: label for label in self.labels}

    def __iter__(self):
        return iter(self.labels)

    def __getitem__(self, index: int) -> Label:
        return self.by_index[index]

    @cached_property
    def unsided(self) -> tuple[int, ...]:
        """Return the predicted indices: background, unpaired structures and the left of each pair."""
        return tuple(x.index for x in self.labels if not x.name.startswith("Right-"))

    @cached_property
    def right_of(self) -> np.ndarray:
        """Return the right index of every unsided structure (its own if unpaired)."""
        return np.array([self.by_index[i].partner for i in self.unsided])

    @cached_property
    def tissue_of(self) -> np.ndarray:
        """Return the position in ``TISSUES`` of every unsided structure."""
        return np.array([TISSUES.index(self.by_index[i].tissue) for i in self.unsided])

    def lookup(self, column: str, size: int | None = None) -> np.ndarray:
        """Return a lookup array from index to a property.

        Parameters
        ----------
        column : {'tissue', 'dseg', 'unsided'}
            Position in ``TISSUES``, value in a ``dseg``, or position in ``unsided``.
        size : int, optional
            Length of the array; by default the largest index plus 1.

        Returns
        -------
        ndarray of uint8, shape (size,)
            Property by index.

        Raises
        ------
        ValueError
            If the column is unknown.
        """
        out = np.zeros(size or self.labels[-1].index + 1, np.uint8)
        for label in self.labels:
            if column == "tissue":
                out[label.index] = TISSUES.index(label.tissue)
            elif column == "dseg":
                out[label.index] = DSEG[label.tissue]
            elif column == "unsided":
                left = min(label.index, label.partner)
                out[label.index] = self.unsided.index(left)
            else:
                raise ValueError(f"unknown column {column!r}")
        return out


def merged(finer: LabelTable, coarser: LabelTable) -> list[int]:
    """Return the position in a coarser table of every unsided structure of a finer one.

    Parameters
    ----------
    finer, coarser : LabelTable
        Label tables.

    Returns
    -------
    list of int
        Positions in ``coarser.unsided`` of the structure or of its whole.

    Examples
    --------
    >>> finer = load("fetal-callosum")
    >>> [finer[i].name for i in finer.unsided if i not in load("fetal").unsided]
    ['Corpus-Callosum']
    >>> merged(finer, load("fetal"))
    [0, 1, 2, 3, 4, 5, 6, 7, 1]
    """
    kept = coarser.unsided
    return [kept.index(i if i in kept else finer[i].part_of) for i in finer.unsided]


@cache
def numbering(name: str, column: str) -> np.ndarray | None:
    """Return a lookup array from a table's indices to another numbering.

    Parameters
    ----------
    name : str
        Label table.
    column : str
        Column of the table with the other numbering.

    Returns
    -------
    ndarray of uint8 or None
        Numbers by index; None if the table lacks the column.

    Examples
    --------
    >>> numbering("fetal", "feta")[[24, 3, 42, 16]].tolist(), numbering("adult", "feta")
    ([1, 2, 2, 7], None)
    """
    text = (FOLDER / "labels" / f"{name}.tsv").read_text()
    rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    if column not in rows[0]:
        return None
    out = np.zeros(max(int(row["index"]) for row in rows) + 1, np.uint8)
    for row in rows:
        out[int(row["index"])] = int(row[column])
    return out


@cache
def load(name: str) -> LabelTable:
    """Read a label table of the package.

    Parameters
    ----------
    name : str
        Name of the table, such as ``adult`` or ``tissue``.

    Returns
    -------
    LabelTable
        The table.
    """
    text = (FOLDER / "labels" / f"{name}.tsv").read_text()
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return LabelTable(
        [
            Label(
                int(row["index"]),
                row["name"],
                row["abbreviation"],
                row["color"],
                int(row["mapping"]),
                row.get("tissue") or row["name"],
                int(row.get("partner") or row["index"]),
                row.get("pieces") or "many",
                int(row.get("part_of") or row["index"]),
            )
            for row in rows
        ]
    )
