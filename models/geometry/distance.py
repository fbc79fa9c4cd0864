"""Signed distance to the surface of a mask, and closing of a mask over the sulci."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from .axes import extent
from .regions import filled

CLOSING = 4.0
"""Radius (mm) for the closing of tissue and ventricles to a brain mask, which then has the sulci."""

SHELLS = (4.0, 12.0)
"""Distances (mm) up to which neighbors are looked at one by one, first those of all voxels without a find."""

FEW = 16
"""Number of voxels that are compared with every known one."""

MOST_LOOKS = 2**28
"""Number of neighbors above which a distance transform is faster."""

LEAST_LOOKS = 2**8
"""Number of voxels that are counted at least: the list of neighbors itself needs memory."""


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


def nearest(
    known: np.ndarray, wanted: np.ndarray, spacing: float | Sequence[float] | np.ndarray = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Find the known voxel that is nearest to every wanted one; faster than a distance transform.

    The neighbors of the wanted voxels are looked at in the order of their distance, and what is left is
    computed by a distance transform. Of several that are equally near, any may be taken.

    Parameters
    ----------
    known, wanted : ndarray of bool, shape (X, Y, Z)
        The voxels.
    spacing : float or sequence of float
        Voxel size (mm).

    Returns
    -------
    index : ndarray of int, shape (N,)
        Index of the known voxel in the flat array, by the order of the wanted ones; 0 if none is known.
    distance : ndarray of float, shape (N,)
        Distance (mm) from center to center; infinite if none is known.

    Examples
    --------
    >>> known = np.array([True, False, False, False]).reshape(1, 1, 4)
    >>> [found.tolist() for found in nearest(known, ~known, 2.0)]
    [[0, 0, 0], [2.0, 4.0, 6.0]]
    """
    size = np.broadcast_to(np.asarray(spacing, float), 3)
    where = np.flatnonzero(wanted)
    index, distance = np.zeros(len(where), np.int64), np.full(len(where), np.inf)
    left = np.arange(len(where))
    if not known.any():
        return index, distance
    inner = -1.0  # a voxel may be wanted and known
    for outer in SHELLS:
        rest = _look(known, where, left, size, (inner, outer), (index, distance))
        if rest is None:
            break
        left, inner = rest, outer
    if not len(left):
        return index, distance
    if len(left) <= FEW:
        there = np.flatnonzero(known)
        places = np.unravel_index(there, known.shape)
        for one in left:
            at = np.unravel_index(where[one], known.shape)
            apart = sum(((axis - k) * step) ** 2 for axis, k, step in zip(places, at, size, strict=True))
            index[one], distance[one] = there[apart.argmin()], np.sqrt(apart.min())
        return index, distance
    apart, axes = ndimage.distance_transform_edt(~known, size, return_indices=True)
    distance[left] = apart.ravel()[where[left]]
    index[left] = np.ravel_multi_index(tuple(axis.ravel()[where[left]] for axis in axes), known.shape)
    return index, distance


def _look(
    known: np.ndarray,
    where: np.ndarray,
    left: np.ndarray,
    size: np.ndarray,
    shell: tuple[float, float],
    found: tuple[np.ndarray, np.ndarray],
) -> np.ndarray | None:
    """Look at the neighbors in a shell (mm) of the voxels that are left; return those that found nothing.

    None if there are too many neighbors to look at.
    """
    index, distance = found
    reach = [min(int(shell[1] / step + 1e-6), n - 1) for step, n in zip(size, known.shape, strict=True)]
    if not len(left):
        return left
    if max(len(left), LEAST_LOOKS) * math.prod(2 * r + 1 for r in reach) > MOST_LOOKS:
        return None
    steps = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, 3)
    apart = np.sqrt(((steps * size) ** 2).sum(1))
    order = np.argsort(apart, kind="stable")
    order = order[(apart[order] > shell[0]) & (apart[order] <= shell[1])]
    padded = np.pad(known, [(r, r) for r in reach])
    pitch = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    there = np.stack(np.unravel_index(where[left], known.shape), -1)
    places, flat = (there + reach) @ pitch, padded.ravel()
    plain = np.array([known.shape[1] * known.shape[2], known.shape[2], 1])
    for step in order:
        hit = flat[places + steps[step] @ pitch]
        if hit.any():
            index[left[hit]] = where[left[hit]] + steps[step] @ plain
            distance[left[hit]] = apart[step]
            left, places = left[~hit], places[~hit]
            if not len(left):
                break
    return left


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
