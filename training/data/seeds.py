"""Files of seeds: the subclasses of intensity of a label map, as NIfTI images."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from ...models.errors import InputError
from ...models.io import atomic
from .intensity_classes import MOST_METAS, find_seeds, pack
from .sources import positions, table_rows


def write_seeds(image: Path, labels: Path, out: Path, table: str) -> dict[int, int]:
    """Write the seeds of an image (``brainseg synth seeds``) as a 4-D NIfTI on its label map's grid.

    Parameters
    ----------
    image : Path
        The scan.
    labels : Path
        Its label map, with the values of the source table.
    out : Path
        File to write.
    table : str
        Source table with a column ``meta``.

    Returns
    -------
    dict of int to int
        Voxels of every meta-label.

    Raises
    ------
    InputError
        If the grids differ, a label is not in the table, or the table has no meta-labels.
    """
    rows = table_rows(table, ("source", "meta"))
    known, metas = (np.array([int(row[k] or 0) for row in rows]) for k in ("source", "meta"))
    if not 0 < metas.max() <= MOST_METAS or metas.min() < 0:
        reason = f"the meta-labels of the source table {table} are {metas.min()} to {metas.max()}"
        raise InputError(None, reason, f"Give 1, 2, ... {MOST_METAS}, or 0 for what gets no seeds")
    scan, truth = nib.load(image), nib.load(labels)
    if scan.shape[:3] != truth.shape[:3] or not np.allclose(scan.affine, truth.affine, atol=1e-2):
        raise InputError(image, f"its grid is not that of {labels}", "Resample one of them")
    values = np.asarray(truth.dataobj).astype(np.int32).reshape(truth.shape[:3])
    image_values = np.asarray(scan.dataobj, np.float32).reshape(values.shape)
    meta = metas[positions(values, known, labels, table)]
    # Of an extracted brain nothing is left around it that could be split.
    meta[(values == 0) & (image_values == 0)] = 0
    seeds = find_seeds(image_values, meta)
    result = nib.Nifti1Image(seeds, truth.affine)
    result.header.set_data_dtype(np.uint8)
    with atomic.replacing(out, keep_extension=True) as temporary:
        nib.save(result, temporary)
    return {int(m): int((meta == m).sum()) for m in np.unique(meta) if m}


def read_seeds(path: Path, like: nib.spatialimages.SpatialImage) -> np.ndarray:
    image = nib.as_closest_canonical(nib.load(path))
    if image.shape[:3] != like.shape[:3] or not np.allclose(image.affine, like.affine, atol=1e-2):
        raise InputError(path, "it does not lie on its label map's grid", "Make it again from that map")
    return pack(np.asarray(image.dataobj))
