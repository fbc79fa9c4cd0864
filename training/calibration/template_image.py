"""Image of a template on the grid of 1 mm that is stored with the program.

``brainseg train template DIR --image IMAGE`` averages the voxels of a finer image of the brain alone, and
writes ``<name>.npz`` and ``<name>.json``; the structures are then segmented in what was stored.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...models.errors import InputError
from ...models.geometry.volume import Grid, Volume
from ...models.io import images
from ...models.templates import catalog

GRID = Grid((193, 229, 193), np.array([[1.0, 0, 0, -96], [0, 1, 0, -132], [0, 0, 1, -78], [0, 0, 0, 1]]))
"""TemplateFlow's grid of MNI152NLin2009cAsym, res-01."""

STEPS = 15
"""Steps between probabilities 0 and 1 of the stored tissues: few, so that they compress well."""

ABOUT: dict[str, Any] = {
    "source": "ICBM 152 nonlinear asymmetric 2009c, brain alone, 0.5 mm, averaged on TemplateFlow's grid of "
    "1 mm",
    "citation": [
        "Fonov VS, Evans AC, McKinstry RC, Almli CR, Collins DL (2009). Unbiased nonlinear average "
        "age-appropriate brain templates from birth to adulthood. NeuroImage 47 Suppl 1:S102. "
        "doi:10.1016/S1053-8119(09)70884-5",
        "Fonov V, Evans AC, Botteron K, Almli CR, McKinstry RC, Collins DL (2011). Unbiased average "
        "age-appropriate atlases for pediatric studies. NeuroImage 54:313-327. "
        "doi:10.1016/j.neuroimage.2010.07.033",
    ],
    "license": "ICBM license (free use with notice)",
    "license_text": "Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal "
    "Neurological Institute, McGill University. Permission to use, copy, modify, and distribute this "
    "software and its documentation for any purpose and without fee is hereby granted, provided that the "
    "above copyright notice appear in all copies. The authors and McGill University make no "
    "representations about the "
    'suitability of this software for any purpose. It is provided "as is" without express or implied '
    "warranty. The authors are not responsible for any data loss, equipment damage, property loss, or injury "
    "to subjects or patients resulting from the use or misuse of this software package.",
}
"""Source, citation and license of the image."""


def averaged(fine: Volume, grid: Grid) -> Volume:
    """Return the mean of a finer image over every voxel of an upright grid, 0 outside the image.

    Parameters
    ----------
    fine : Volume, shape (X, Y, Z)
        Image with axes along those of ``grid``, in RAS order.
    grid : Grid
        Upright grid.

    Returns
    -------
    Volume, float32
        Sums of the values, each weighted by the share of its voxel in the voxel of the grid: exact for any
        offset of the two grids, half a voxel or none.

    Examples
    --------
    >>> half, whole = np.diag([0.5, 1.0, 1.0, 1.0]), np.eye(4)
    >>> half[0, 3] = -0.25
    >>> fine = Volume(torch.arange(4.0).view(4, 1, 1), half)
    >>> averaged(fine, Grid((2, 1, 1), whole)).data.flatten().tolist()
    [0.5, 2.5]
    """
    data = fine.data.double().numpy()
    for axis in range(3):
        weights = _shares(fine.grid, grid, axis)
        data = np.moveaxis(np.tensordot(weights, data, (1, axis)), 0, axis)
    return Volume(torch.from_numpy(data).float(), grid.affine)


def _shares(fine: Grid, grid: Grid, axis: int) -> np.ndarray:
    """Return the share of every fine voxel in every voxel of a grid along an axis, shape (grid, fine)."""
    edges = []
    for one in (grid, fine):
        center = one.affine[axis, 3] + one.affine[axis, axis] * np.arange(one.shape[axis])
        edges.append((center - one.spacing[axis] / 2, center + one.spacing[axis] / 2))
    (low, high), (left, right) = edges
    common = np.minimum(high[:, None], right[None]) - np.maximum(low[:, None], left[None])
    return np.clip(common, 0, None) / grid.spacing[axis]


def write_image(image: Path, folder: Path, name: str = catalog.DEFAULT, grid: Grid = GRID) -> Path:
    """Write the image of a template, averaged on a grid, in 255 levels; 0 is outside of the brain.

    Parameters
    ----------
    image : Path
        Finer image of the brain alone, 0 outside.
    folder : Path
        Folder of ``<name>.npz`` and ``<name>.json``.
    name : str
        Name of the template.
    grid : Grid
        Upright grid.

    Returns
    -------
    Path
        The NPZ file.

    Raises
    ------
    InputError
        If the axes of the image are not those of the grid.
    """
    fine = images.read(image, np.float32).canonical()
    turn = fine.affine[:3, :3]
    if not np.allclose(turn, np.diag(np.diag(turn)), atol=1e-4):
        raise InputError(image, "its axes are oblique", "Give an image with axes along left-right, and so on")
    inside = averaged(fine.with_data((fine.data > 0).float()), grid).data
    mean = averaged(fine, grid).data / inside.clamp(min=1e-6)
    levels = (mean * (255 / mean[inside >= 0.5].max())).round().clamp(1, 255)
    data = torch.where(inside >= 0.5, levels, torch.zeros(())).to(torch.uint8).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    np.savez_compressed(path, image=data)
    record = {"name": name, "space": "RAS mm", "about": ABOUT, "grid": grid.affine.tolist()}
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    return path
