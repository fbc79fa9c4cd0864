"""Signed distance to the surface of a mask, and closing of a mask over the sulci."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .axes import extent
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


def within(mask: np.ndarray, radius: float, spacing: float = 1.0) -> np.ndarray:
    """Return the voxels within a distance of a mask; faster than a distance transform if that is short.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The mask.
    radius, spacing : float
        Largest distance from center to center of voxels, and voxel size (mm).

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The mask, widened by a ball. Exact: squared distances are minima along one axis after the other.

    Examples
    --------
    >>> row = np.zeros((1, 1, 7), bool)
    >>> row[..., 3] = True
    >>> within(row, 2.0).astype(int).ravel().tolist()
    [0, 1, 1, 1, 1, 1, 0]
    """
    limit = int((radius / spacing) ** 2 + 1e-6)
    reach = int(limit**0.5)
    kind = np.uint8 if 2 * limit + 1 < 256 else np.uint32
    squared = np.where(mask, kind(0), kind(limit + 1))
    for axis in range(3):
        before = np.moveaxis(squared, axis, 0)
        after = before.copy()
        for step in range(1, min(reach, len(before) - 1) + 1):
            np.minimum(after[step:], before[:-step] + kind(step**2), out=after[step:])
            np.minimum(after[:-step], before[step:] + kind(step**2), out=after[:-step])
        squared = np.moveaxis(after, 0, axis)
    return squared <= limit


def closed(mask: np.ndarray, radius: float = CLOSING, spacing: float = 1.0, rim: float = 0.0) -> np.ndarray:
    """Close a mask with a ball and fill its holes, within the box around the mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        The tissue.
    radius, spacing : float
        Radius of the ball and voxel size (mm).
    rim : float
        Distance (mm) to which the closed mask is widened, less than ``radius``.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The closed mask.
    """
    ends = extent(mask)
    if ends is None:
        return mask.copy()
    more = int(np.ceil(rim / spacing))
    window = tuple(slice(max(low - more, 0), high + 1 + more) for low, high in ends)
    pad = int(np.ceil(radius / spacing)) + 2
    grown = within(np.pad(mask[window], pad), radius, spacing)
    shut = ~within(~grown, radius - rim, spacing)
    inner = tuple(slice(pad, -pad) for _ in range(3))
    out = np.zeros_like(mask)
    out[window] = filled(shut[inner] | mask[window])
    return out
