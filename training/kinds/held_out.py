"""Checks that validation data are held out and enough, so that a score means what it says."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np

from ...models.errors import UsageError

CASES = re.compile(r"(labels|image|truth|x)\d+\.npy")
"""Arrays of one case."""

PAIRED = ("registration", "hippocampus-registration", "pair")
"""Kinds of recipes whose examples are pairs of cases."""


def check(kind: str, training: Path | None, validation: Path | None, what: str = "--validation") -> None:
    """Refuse validation data that train too, or that cannot be paired.

    Parameters
    ----------
    kind : str
        Kind of the recipe.
    training, validation : Path, optional
        Prepared arrays.
    what : str
        The option of the validation data, for the error message.

    Raises
    ------
    UsageError
        If a case is in both files, or a recipe of pairs has a single case.
    """
    if validation is None:
        return
    if kind in PAIRED and count(validation) < 2:
        raise UsageError(
            validation,
            "there is one case for validation, which would be paired with itself",
            "Give two or more; of hippocampi in --maps, a tenth is for validation: give 20 or more",
        )
    if training is None:
        return
    both = _contents(training) & _contents(validation)
    if both:
        raise UsageError(
            validation,
            f"{len(both)} arrays are in the training data {training.name} too: a score would mean nothing",
            f"Give other cases with {what}",
        )


def count(path: Path) -> int:
    """Return the number of cases of prepared arrays."""
    with np.load(path) as arrays:
        meta = json.loads(str(arrays["meta"]))
    return int(meta.get("count") or len(meta.get("names", ())))


def _contents(path: Path) -> set[tuple[str, int, int]]:
    """Return kind, checksum and size of the arrays of every case."""
    with zipfile.ZipFile(path) as archive:
        return {
            (found[1], one.CRC, one.file_size)
            for one in archive.infolist()
            if (found := CASES.fullmatch(one.filename))
        }
