"""Reading of a scan for all commands and stages: checked, and without a noisy background."""

from __future__ import annotations

from pathlib import Path

from ..geometry.volume import Volume
from ..io import conform
from . import mp2rage


def read(path: str | Path, *, notes: list[str], least_mm: float = conform.LEAST_MM) -> Volume:
    """Read a scan, with a dark background if it is an MP2RAGE UNI image.

    Parameters
    ----------
    path : path-like
        The scan.
    notes : list of str
        Notes for the user; what was guessed or replaced is appended.
    least_mm : float
        Smallest field of view (mm) that is no error.

    Returns
    -------
    Volume
        float32 values on the file's own grid.

    Raises
    ------
    InputError
        If it cannot be used (:func:`brainseg.models.io.conform.read`).
    """
    return mp2rage.prepared(conform.read(path, least_mm, notes), path, notes)
