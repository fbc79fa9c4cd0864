"""Seed images: subclasses of intensity of a label map, as 4-D NIfTI."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from ...models.errors import InputError
from ...models.io import atomic
from ...models.io.images import open_image
from .intensity_classes import MOST_METAS, find_seeds, pack
from .sources import positions, table_rows


def write_seeds(image: Path, labels: Path, out: Path, table: str) -> dict[int, int]:
    """Write the seeds of a scan as a 4-D NIfTI image on the grid of its label map.

    Parameters
    ----------
    image : Path
        Scan.
    labels : Path
        Label map of the scan, with the values of the source table.
    out : Path
        File to write.
    table : str
        Source table with a column ``meta``.

    Returns
    -------
    dict of int to int
        Number of voxels by meta-label.

    Raises
    ------
    InputError
        If the grids differ, a label is not in the table, or the table has no meta-labels.
    """
    rows = table_rows(table, ("source", "meta"))
    known, metas = (np.array([int(row[k] or 0) for row in rows]) for k in ("source", "meta"))
    if not 0 < metas.max() <= MOST_METAS or metas.min() < 0:
        reason = f"the meta-labels of the source table {table} are {metas.min()} to {metas.max()}"
        raise InputError(None, reason, f"Give 1, 2, ... {MOST_METAS}, or 0 for no seeds")
    scan, truth = open_image(image), open_image(labels)
    if scan.shape[:3] != truth.shape[:3] or not np.allclose(scan.affine, truth.affine, atol=1e-2):
        raise InputError(image, f"the grid differs from {labels}", "Resample one of them")
    values = np.asarray(truth.dataobj).astype(np.int32).reshape(truth.shape[:3])
    image_values = np.asarray(scan.dataobj, np.float32).reshape(values.shape)
    meta = metas[positions(values, known, labels, table)]
    # The background of a skull-stripped scan cannot be split.
    meta[(values == 0) & (image_values == 0)] = 0
    seeds = find_seeds(image_values, meta)
    result = nib.Nifti1Image(seeds, truth.affine)
    result.header.set_data_dtype(np.uint8)
    with atomic.replacing(out, keep_extension=True) as temporary:
        nib.save(result, temporary)
    return {int(m): int((meta == m).sum()) for m in np.unique(meta) if m}


def read_seeds(path: Path, like: nib.spatialimages.SpatialImage) -> np.ndarray:
    """Return the packed seeds of a label map, shape (X, Y, Z) in canonical orientation.

    Parameters
    ----------
    path : Path
        Seed image, from :func:`write_seeds`.
    like : SpatialImage
        Label map in canonical orientation.

    Raises
    ------
    InputError
        If the grids differ.
    """
    image = nib.as_closest_canonical(nib.load(path))
    if image.shape[:3] != like.shape[:3] or not np.allclose(image.affine, like.affine, atol=1e-2):
        raise InputError(path, "the grid differs from the label map", "Make the seeds again from that map")
    return pack(np.asarray(image.dataobj))
