"""What lies around a brain mask: one that cuts through the cortex has brain on both sides of its surface."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..geometry.distance import within
from ..geometry.volume import Volume, box
from ..population import labels

SHELL = 1.5
"""Thickness (mm) of the shell around the mask."""

LEAST = 200
"""Smallest number of voxels of a tissue for its median intensity."""


def brain_outside(image: Volume, mask: Volume, segmentation: Volume, table: str = "adult") -> float | None:
    """Return the share of the mask's surroundings with the intensity of gray or white matter.

    A voxel counts if its intensity is closer to the median of gray or of white matter than to that of fluid
    and to zero.

    Parameters
    ----------
    image, mask, segmentation : Volume, shape (X, Y, Z)
        Bias-corrected image, brain mask, and structures (FreeSurfer ids) on one grid.
    table : str
        Label table.

    Returns
    -------
    float or None
        Share, 0 to 1; None without gray matter, white matter or fluid, or without surroundings.
    """
    start, shape = box(mask, SHELL + 2)
    window = tuple(
        slice(max(s, 0), min(s + n, size)) for s, n, size in zip(start, shape, mask.grid.shape, strict=True)
    )
    inside = mask.data.numpy()[window] > 0
    data, found = image.data.numpy()[window], segmentation.data.numpy()[window]
    tissue = np.asarray(labels.load(table).lookup("tissue"))[found]
    medians = []
    for names in (("gm",), ("wm",), ("csf", "ventricles")):
        kinds = [labels.TISSUES.index(name) for name in names]
        values = data[np.isin(tissue, kinds) & inside]
        if values.size < LEAST:
            return None
        medians.append(float(np.median(values)))
    around = data[_shell(inside, mask.grid.spacing)]
    if not around.size:
        return None
    gray, white, fluid = (np.abs(around - median) for median in medians)
    return float((np.minimum(gray, white) < np.minimum(fluid, np.abs(around))).mean())


def _shell(inside: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the voxels around a mask: up to :data:`SHELL` away, at least those that share a face with it."""
    radius = max(SHELL, 1.01 * float(spacing.min()))
    if np.ptp(spacing) < 1e-3 * spacing.min():
        return within(inside, radius, float(spacing.mean())) & ~inside
    distance = ndimage.distance_transform_edt(~inside, spacing)
    return (distance > 0) & (distance <= radius)
