"""The meaning of the label values of fetal training images."""

from __future__ import annotations

import numpy as np

from ...models.errors import InputError
from ...models.population import labels as label_tables
from ..data.sources import table_path, table_rows

FINEST = "fetal-callosum"
"""Label table with all structures of the source table."""


def read_table(table: str = "fetal") -> dict[str, np.ndarray]:
    """Return the columns of the fetal source table by label value.

    Parameters
    ----------
    table : str
        Label table of the structures.

    Returns
    -------
    dict of str to ndarray of int
        ``structure``, ``meta`` and ``T2w``.
    """
    rows = sorted(table_rows("fetal", ("source",)), key=lambda row: int(row["source"]))
    out = {k: np.array([int(row[k]) for row in rows]) for k in ("structure", "meta", "T2w")}
    finest, wanted = label_tables.load(FINEST), label_tables.load(table)
    whole = dict(zip(finest.unsided, label_tables.merged(finest, wanted), strict=True))
    return out | {"structure": np.array([wanted.unsided[whole[int(i)]] for i in out["structure"]])}


def numbering(table: str = "fetal") -> dict[int, int]:
    """Return the value in ``fetal.tsv`` with the same structure for every value of a source table.

    Raises
    ------
    MissingFileError, InputError
        If there is no such table, or a structure is unknown to the fetal networks.
    """
    known = label_tables.load(FINEST)
    own = {int(row["structure"]): int(row["source"]) for row in table_rows("fetal", ("source", "structure"))}
    out, unknown = {}, []
    for row in table_rows(table, ("source", "structure")):
        index = int(row["structure"] or 0)
        if index not in own and index in known.by_index:
            index = known[index].partner
        if index in own:
            out[int(row["source"])] = own[index]
        else:
            unknown.append(index)
    if unknown:
        raise InputError(
            table_path(table),
            f"the fetal networks know no structures {', '.join(map(str, sorted(set(unknown))))}",
            f"Use those of the fetal table: {', '.join(map(str, sorted(own)))}",
        )
    return out
