"""Low-resolution stacks: which scans have too coarse voxels for more than a brain mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..io import images
from ..population.populations import Population

ELONGATED = 1.95
"""Longest to shortest side of a voxel, from which it is a slice's; reconstructions are nearly isotropic."""

FINE_MM = 1.5
"""Voxels up to this size (mm) are fine enough, however elongated."""

REASON = (
    "low-resolution stack (voxels of {voxel} mm; only voxels of up to {most:g} mm that are about as long as "
    "wide are segmented)"
)
REMEDY = (
    "Reconstruct the stacks of the session to one volume of about 0.8 mm (NiftyMIC, SVRTK, NeSVoR) and "
    "process that"
)


def coarseness(spacing: Sequence[float] | np.ndarray, record: Population) -> str | None:
    """Return why a scan is a stack too coarse for a population's networks; None if it is not.

    Parameters
    ----------
    spacing : sequence of float
        Voxel size (mm).
    record : Population
        ``thickest_mm`` is the limit; 0 for none.
    """
    if not record.thickest_mm:
        return None
    zooms = [round(float(z), 4) for z in spacing]
    longest, shortest = max(zooms), min(zooms)
    elongated = longest > FINE_MM and longest >= ELONGATED * shortest
    if longest <= record.thickest_mm and not elongated:
        return None
    return REASON.format(voxel=" x ".join(f"{z:.2g}" for z in zooms), most=record.thickest_mm)


def too_coarse(path: str | Path, record: Population) -> str | None:
    """Return why a scan gets only a brain mask, as a note for the user; None if it gets everything.

    Only the header is read.
    """
    if not record.thickest_mm:
        return None
    try:
        spacing = images.voxel_size(path)
    except Exception:  # conform reports what is wrong with it
        return None
    why = coarseness(spacing, record)
    return f"The image is a {why}: it got a brain mask only. {REMEDY}." if why else None
