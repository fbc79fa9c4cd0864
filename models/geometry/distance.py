"""Signed distance to the surface of a mask, and closing of a mask over the sulci."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .regions import filled

CLOSING = 4.0
"""Radius (mm) for the closing of tissue and ventricles to a brain mask, which then has the sulci."""


def signed_distance(mask: np.ndarray, spacing: float | Sequence[float] | np.ndarray = 1.0) -> np.ndarray:
    """Compute the signed distance (mm) to the surface of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The inside.
    spacing : float or sequence of float
        Voxel size (mm).

    Returns
    -------
    ndarray of float, shape (X, Y, Z)
        Positive inside; from center to center of voxels, so that no value is zero.
    """
    return ndimage.distance_transform_edt(mask, spacing) - ndimage.distance_transform_edt(~mask, spacing)


def closed(mask: np.ndarray, radius: float = CLOSING, spacing: float = 1.0) -> np.ndarray:
    """Close a mask with a ball and fill its holes, within the box around the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The tissue.
    radius, spacing : float
        Radius of the ball and voxel size (mm).

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The closed mask.
    """
    if not mask.any():
        return mask.copy()
    ends = [np.nonzero(mask.any(tuple(a for a in range(3) if a != axis)))[0][[0, -1]] for axis in range(3)]
    window = tuple(slice(int(low), int(high) + 1) for low, high in ends)
    pad = int(np.ceil(radius / spacing)) + 2
    grown = ndimage.distance_transform_edt(~np.pad(mask[window], pad), spacing) <= radius
    shut = ndimage.distance_transform_edt(grown, spacing) > radius
    inner = tuple(slice(pad, -pad) for _ in range(3))
    out = np.zeros_like(mask)
    out[window] = filled(shut[inner] | mask[window])
    return out
