"""Surfaces of masks: the signed distance to them, and closing, which bridges the sulci."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

CLOSING = 4.0
"""Radius (mm) by which tissue and ventricles are closed into a brain mask: sulci belong to it, spine not."""


def signed_distance(mask: np.ndarray, spacing: float | Sequence[float] | np.ndarray = 1.0) -> np.ndarray:
    """Signed distance (mm) to the surface of a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The inside.
    spacing : float or sequence of float
        Voxel size (mm).

    Returns
    -------
    ndarray of float, shape (X, Y, Z)
        Positive inside; half a voxel is nowhere counted, so that no value is zero.
    """
    return ndimage.distance_transform_edt(mask, spacing) - ndimage.distance_transform_edt(~mask, spacing)


def closed(mask: np.ndarray, radius: float = CLOSING, spacing: float = 1.0) -> np.ndarray:
    """Close ``mask`` by a ball and fill its holes, in the box of what it holds.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The tissue.
    radius, spacing : float
        Radius of the ball and voxel size (mm).
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
    out[window] = ndimage.binary_fill_holes(shut[inner] | mask[window])
    return out
