"""What lies around a brain mask: one that cuts through the cortex has brain on both sides of its surface."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

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
    distance = ndimage.distance_transform_edt(~inside, mask.grid.spacing)
    around = data[(distance > 0) & (distance <= max(SHELL, 1.01 * float(np.min(mask.grid.spacing))))]
    if not around.size:
        return None
    gray, white, fluid = (np.abs(around - median) for median in medians)
    return float((np.minimum(gray, white) < np.minimum(fluid, np.abs(around))).mean())
