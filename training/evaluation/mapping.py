"""Mappings from the labels of another segmentation protocol to those of a label table."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from ...models.errors import InputError, MissingFileError
from ...models.population import label_sets

IGNORED = -1
"""Value of voxels that are not scored: ``n/a`` in a mapping."""

SHIPPED = ("freesurfer", "fastsurfer", "synthseg", "neuromorphometrics")
"""Mappings that the package ships: FreeSurfer's aseg and aparc+aseg, FastSurfer's aparc.DKTatlas+aseg,
SynthSeg's labels with and without parcels of the cortex, and Neuromorphometrics."""

NONE = "none"
"""Name of no mapping, where several sides have each their own."""


@dataclass(frozen=True)
class Mapping:
    """A segmentation protocol in terms of a label table, such as FreeSurfer ids.

    Attributes
    ----------
    name : str
        Name of the table.
    structure : dict of int to int
        Label of the protocol to a label of the table, 0 (background) or ``IGNORED``.
    """

    name: str
    structure: dict[int, int]

    @property
    def structures(self) -> set[int]:
        """Labels of the table that the protocol has."""
        return {s for s in self.structure.values() if s > 0}

    def apply(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Return label values of the protocol as labels of the table.

        Parameters
        ----------
        values : ndarray of int
            Label values of the protocol.
        path : Path
            File of the labels, for the error message.

        Raises
        ------
        InputError
            If a value is missing in the table.
        """
        found = np.unique(values)
        unknown = sorted(set(found.tolist()) - set(self.structure))
        if unknown:
            raise InputError(
                path,
                f"the labels [{label_sets.shown(unknown)}] are not in the mapping {self.name}",
                "Add them to the table, or choose the mapping of these labels",
            )
        mapped = np.array([self.structure[int(v)] for v in found], np.int32)
        return mapped[np.searchsorted(found, values)]


def read_mapping(name: str) -> Mapping:
    """Read a table with the columns ``index``, ``name`` and ``structure``.

    Parameters
    ----------
    name : str
        TSV file, or the name of a table that the package ships (:data:`SHIPPED`).

    Raises
    ------
    MissingFileError
        If there is no such table.
    InputError
        If a column is missing, or a value is not an integer.
    """
    path = Path(name)
    if not path.is_file():
        path = Path(str(files("brainseg.training") / "sources" / f"{name}.tsv"))
    if not path.is_file():
        shipped = ", ".join(SHIPPED)
        raise MissingFileError(
            name, "no such mapping", f"Give a TSV file, or the name of a shipped mapping: {shipped}"
        )
    rows = list(csv.DictReader(path.read_text().splitlines(), delimiter="\t"))
    if not rows or not {"index", "structure"} <= set(rows[0]):
        raise InputError(
            path, "a mapping needs the columns index and structure", "The third column, name, is for readers"
        )
    try:
        table = {int(r["index"]): IGNORED if r["structure"] == "n/a" else int(r["structure"]) for r in rows}
    except (TypeError, ValueError) as error:
        raise InputError(path, f"index and structure must be integers or n/a ({error})") from None
    return Mapping(path.stem, table)
