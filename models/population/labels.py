"""Label tables: the single source of truth for structures, tissues, colors and left/right partners.

A table is a TSV in BIDS form (``index name abbreviation color mapping``) with the further columns ``tissue``,
``total``, ``partner`` and ``pieces`` for structures. Networks predict *unsided* structures (the left index
stands for both sides); the side is added afterwards. The column ``part_of`` maps a finer structure to one of
a coarser table. ``tissue.tsv`` defines the tissues and their values in a ``dseg``, ``totals.toml`` the totals
of volumes.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..data import FOLDER, user
from ..errors import UsageError
from . import label_rows


def _rows(name: str) -> list[dict[str, str]]:
    """Return the rows of a table: of a shipped one, one in a folder of the user, or a TSV file.

    The parcellation of a population has a table of this form, too.
    """
    for shipped in (FOLDER / "labels" / f"{name}.tsv", FOLDER / "parcellations" / f"{name}.tsv"):
        if shipped.is_file():
            return list(csv.DictReader(shipped.read_text().splitlines(), delimiter="\t"))
    path = Path(name) if name.endswith(".tsv") else user.find("labels", f"{name}.tsv")
    if path is None:
        known = ", ".join(user.every("labels", ".tsv"))
        raise UsageError(None, f"no label table {name!r}", f"Give a TSV file, or one of: {known}")
    return label_rows.complete(label_rows.read(path), path, TISSUES[1:])


DSEG = {row["name"]: int(row["dseg"]) for row in _rows("tissue")}
"""Value of every tissue in a BIDS ``dseg``: 1 GM, 2 WM, 3 CSF."""

TISSUES = tuple(DSEG)
"""Names of the six tissues, in the order of the tissue decoder's outputs."""

DSEG_NAMES = tuple(row["abbreviation"] for row in _rows("dseg"))
"""Names of the tissues of a BIDS ``dseg`` in the order of their values 1, 2, 3 (``dseg.tsv``)."""


@dataclass(frozen=True)
class Label:
    """One row of a label table.

    ``pieces`` is ``one`` for a structure of one piece on either side; ``total`` is the smallest total of
    ``totals.toml`` that it belongs to.
    """

    index: int
    name: str
    abbreviation: str
    color: str
    mapping: int
    tissue: str
    partner: int
    pieces: str = "many"
    part_of: int = -1
    total: str = ""


@dataclass(frozen=True)
class Total:
    """A sum of volumes of structures, named by what it holds.

    Attributes
    ----------
    name, title : str
        Name in tables, such as ``cortex_gm``, and in reports.
    color : str
        Color in reports.
    map : str
        Probability map (``GM``, ``WM``, ``CSF``) whose sum it is; empty for a part of one.
    parts : tuple of str
        Values of the column ``total`` of its structures.
    description : str
        What it holds.
    """

    name: str
    title: str
    color: str
    map: str
    parts: tuple[str, ...]
    description: str


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

    @cached_property
    def exchanged(self) -> tuple[int, ...]:
        """Return the position of every label's partner: its place in the probabilities of a mirror image."""
        places = {label.index: place for place, label in enumerate(self.labels)}
        return tuple(places[label.partner] for label in self.labels)

    @cached_property
    def one_sided(self) -> tuple[str, ...]:
        """Return the names of labels of one side without partner: a mirror image has no label for them.

        Examples
        --------
        >>> own("dseg").one_sided
        ()
        """
        alone = (label for label in self.labels if label.partner == label.index)
        return tuple(label.name for label in alone if label_rows.other_side(label.name))

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
    rows = _rows(name)
    if column not in rows[0]:
        return None
    out = np.zeros(max(int(row["index"]) for row in rows) + 1, np.uint8)
    for row in rows:
        out[int(row["index"])] = int(row[column])
    return out


@cache
def load(name: str) -> LabelTable:
    """Read a label table.

    Parameters
    ----------
    name : str
        Name of a shipped table, such as ``adult`` or ``tissue``, or of one in a folder of the user
        (:mod:`brainseg.models.data.user`), or a TSV file.

    Returns
    -------
    LabelTable
        The table.

    Raises
    ------
    UsageError
        If there is no such table, or it is not valid.
    """
    return _table(_rows(name))


@cache
def own(name: str) -> LabelTable:
    """Read a label table as a network of own labels has it: with the background first, and tissues by name.

    Parameters
    ----------
    name : str
        As for :func:`load`.

    Raises
    ------
    UsageError
        If there is no such table, or it is not valid.

    Examples
    --------
    >>> [(label.index, label.tissue) for label in own("dseg")]
    [(0, 'background'), (1, 'gm'), (2, 'wm'), (3, 'csf')]
    """
    return _table(label_rows.complete(_rows(name), name, TISSUES[1:]))


def of_card(card: Mapping[str, Any]) -> LabelTable:
    """Return the label table of a network: that in its model card (``labels``), or the one that it names.

    Parameters
    ----------
    card : mapping of str to Any
        Model card.

    Raises
    ------
    UsageError
        If the table is missing or not valid.

    Examples
    --------
    >>> table = of_card({"labels": [{"index": 1, "name": "GM"}, {"index": 2, "name": "WM"}]})
    >>> [(label.index, label.name, label.tissue) for label in table]
    [(0, 'Background', 'background'), (1, 'GM', 'gm'), (2, 'WM', 'wm')]
    """
    rows = card.get("labels")
    if not rows:
        return load(str(card.get("label_table")))
    return _table(label_rows.complete(rows, f"model card {card.get('name', '')}".strip(), TISSUES[1:]))


def as_rows(table: LabelTable) -> list[dict[str, Any]]:
    """Return the rows of a table as they stand in a model card."""
    columns = ("index", "name", "abbreviation", "color", "mapping", "tissue", "partner")
    return [{column: getattr(label, column) for column in columns} for label in table]


def _table(rows: list[dict[str, str]]) -> LabelTable:
    return LabelTable(
        [
            Label(
                int(row["index"]),
                row["name"],
                row["abbreviation"],
                row["color"],
                int(row["mapping"]),
                row["tissue"] if "tissue" in row else row["name"],
                int(row.get("partner") or row["index"]),
                row.get("pieces") or "many",
                int(row.get("part_of") or row["index"]),
                row.get("total") or "",
            )
            for row in rows
        ]
    )


@cache
def totals() -> dict[str, Total]:
    """Return the totals of volumes by name, in the order of reports and tables.

    Examples
    --------
    >>> totals()["total_wm"].parts
    ('cerebral_wm', 'cerebellar_wm', 'brainstem')
    """
    content = tomllib.loads((FOLDER / "labels" / "totals.toml").read_text(encoding="utf-8"))
    return {
        name: Total(
            name,
            row["title"],
            row["color"],
            row.get("map", ""),
            tuple(row.get("sum_of", [name])),
            row["description"],
        )
        for name, row in content.items()
    }


def add_up(volumes: Mapping[int, float], table: LabelTable) -> dict[str, float]:
    """Return the totals that a table's structures have.

    Parameters
    ----------
    volumes : mapping of int to float
        Volumes by index; missing structures count as zero.
    table : LabelTable
        The structures.

    Returns
    -------
    dict of str to float
        Volumes by name of the total, in the unit of ``volumes``.

    Examples
    --------
    >>> found = add_up({3: 2.0, 42: 2.0, 8: 1.0}, load("adult"))
    >>> found["total_gm"], found["cortex_gm"], "cerebellum" in found
    (5.0, 4.0, False)
    """
    leaves: dict[str, float] = {}
    for label in table:
        leaves[label.total] = leaves.get(label.total, 0.0) + volumes.get(label.index, 0.0)
    return {
        name: sum(leaves.get(part, 0.0) for part in total.parts)
        for name, total in totals().items()
        if any(part in leaves for part in total.parts)
    }
