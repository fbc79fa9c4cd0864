"""Low-resolution stacks: which scans have too coarse voxels for more than a brain mask."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib

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


def coarseness(path: str | Path, record: Population) -> str | None:
    """What makes a scan a stack that is too coarse for a population's networks; None if it is not.

    Parameters
    ----------
    path : str or Path
        The scan; only its header is read.
    record : Population
        Its ``thickest_mm`` is the bound; there is none where that is 0.
    """
    if not record.thickest_mm:
        return None
    try:
        zooms = [float(z) for z in nib.load(path).header.get_zooms()[:3]]
    except Exception:  # conform will say what is wrong with it
        return None
    longest, shortest = max(zooms), min(zooms)
    elongated = longest > FINE_MM and longest >= ELONGATED * shortest
    if longest <= record.thickest_mm and not elongated:
        return None
    return REASON.format(voxel=" x ".join(f"{z:.2g}" for z in zooms), most=record.thickest_mm)


def too_coarse(path: str | Path, record: Population) -> str | None:
    """Why a scan gets a brain mask only, as a note for the reader; None if it gets everything."""
    why = coarseness(path, record)
    return f"The image is a {why}: it got a brain mask only. {REMEDY}." if why else None
