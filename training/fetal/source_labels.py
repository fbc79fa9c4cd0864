"""The labels of fetal training images: what their values mean."""

from __future__ import annotations

import numpy as np

from ...models.errors import InputError
from ...models.population import labels as label_tables
from ..data.sources import table_path, table_rows

FINEST = "fetal-callosum"
"""Label table that tells apart all that the sources' labels do."""


def read_table(table: str = "fetal") -> dict[str, np.ndarray]:
    """Columns of the table of the fetal sources' labels, by label value; structures are ``table``'s."""
    rows = sorted(table_rows("fetal", ("source",)), key=lambda row: int(row["source"]))
    out = {k: np.array([int(row[k]) for row in rows]) for k in ("structure", "meta", "T2w")}
    finest, wanted = label_tables.load(FINEST), label_tables.load(table)
    whole = dict(zip(finest.unsided, label_tables.merged(finest, wanted), strict=True))
    return out | {"structure": np.array([wanted.unsided[whole[int(i)]] for i in out["structure"]])}


def numbering(table: str = "fetal") -> dict[int, int]:
    """For every value of a source table the one of ``fetal.tsv`` with the same structure.

    Raises
    ------
    MissingFileError, InputError
        If there is no such table, or it has a structure that the fetal networks do not know.
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
