"""The cranial cavity of label maps of heads: everything inside the skull, down to the foramen magnum."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...models.geometry.distance import closed
from ...models.geometry.regions import filled
from ...models.segmentation.masks import largest
from .sources import Source

FORAMEN = ((0.0, -50.0), (-38.0, -60.0))
"""Two points (y, z in mm of the atlas frame) of the plane of the foramen magnum, at its front and its back.
Read from the label maps: where the bone ends, which is also where their brainstem becomes spinal cord."""

CEREBELLUM = (7, 8)
"""Structures that are inside at any height."""

REACH = 8.0
"""Distance (mm) from the rest of the cavity up to which veins are inside: sinuses, not jugular veins."""

SPECK = 2
"""Radius (voxels) of the opening that removes fluid outside the skull, such as in the orbit."""

GAP = 3.0
"""Radius (mm) of the closing over specks of bone in the dura."""


def cavity(labels: np.ndarray, source: Source, to_atlas: np.ndarray) -> np.ndarray:
    """Return the cranial cavity of a label map.

    Parameters
    ----------
    labels : ndarray of uint8, shape (X, Y, Z)
        Positions in the source table, voxels of 1 mm.
    source : Source
        Source table; its ``cavity`` says what lies inside.
    to_atlas : ndarray, shape (4, 4)
        From voxels to mm of the atlas frame.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        Brain, fluid, venous sinuses and what they enclose.
    """
    (front, top), (back, bottom) = FORAMEN
    slope = (top - bottom) / (front - back)
    row = to_atlas[2] - slope * to_atlas[1]
    x, y, z = np.ogrid[tuple(slice(n) for n in labels.shape)]
    above = row[0] * x + row[1] * y + row[2] * z + row[3] > top - slope * front
    above |= np.isin(source.structure, CEREBELLUM)[labels]
    kind = source.cavity[labels]
    inside = (kind == 1) & above
    veins = (kind == 2) & above
    if veins.any():
        veins &= ndimage.distance_transform_edt(~inside) <= REACH
    whole = np.pad(inside | veins, SPECK + 1)
    core = largest(ndimage.binary_erosion(whole, iterations=SPECK))
    near = ndimage.binary_dilation(core, iterations=2 * SPECK)
    kept = largest(whole & near)[tuple(slice(SPECK + 1, -SPECK - 1) for _ in range(3))]
    return filled(closed(kept, GAP))
