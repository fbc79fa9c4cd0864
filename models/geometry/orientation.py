"""Orientation of voxel axes: the closest anatomical axis of each.

The rule is that of ``nibabel.orientations``; training machines may lack nibabel.
"""

from __future__ import annotations

import numpy as np


def closest_axes(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the anatomical axis and the direction of every voxel axis.

    Parameters
    ----------
    affine : ndarray, shape (4, 4)
        Voxel index to mm (RAS).

    Returns
    -------
    axes : ndarray of int, shape (3,)
        For every voxel axis 0 (left to right), 1 (posterior to anterior) or 2 (inferior to superior).
    signs : ndarray of int, shape (3,)
        1 for RAS direction, -1 for the opposite one.

    Examples
    --------
    >>> axes, signs = closest_axes(np.array([[0, -1.0, 0, 0], [1.0, 0, 0, 0], [0, 0, 2.0, 0], [0, 0, 0, 1]]))
    >>> axes.tolist(), signs.tolist()
    ([1, 0, 2], [1, -1, 1])
    """
    turned = affine[:3, :3]
    size = np.sqrt(np.sum(turned * turned, axis=0))
    size[size == 0] = 1
    # Without shears: the orthogonal factor of the polar decomposition.
    left, stretch, right = np.linalg.svd(turned / size, full_matrices=False)
    kept = stretch > stretch.max() * 3 * np.finfo(stretch.dtype).eps
    rotation = left[:, kept] @ right[kept]
    axes, signs = np.zeros(3, int), np.ones(3, int)
    for axis in np.argsort(np.min(-(rotation**2), axis=0), kind="stable"):
        axes[axis] = np.argmax(np.abs(rotation[:, axis]))
        signs[axis] = -1 if rotation[axes[axis], axis] < 0 else 1
        rotation[axes[axis]] = 0  # every anatomical axis is assigned once
    return axes, signs


def to_canonical(axes: np.ndarray, signs: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the matrix from voxel indices of the array in RAS order to those of the array as stored.

    Parameters
    ----------
    axes, signs : ndarray, shape (3,)
        As :func:`closest_axes` returns them.
    shape : tuple of int
        Voxels along each axis before reordering.

    Returns
    -------
    ndarray, shape (4, 4)
        From indices of the reordered array to indices of the array as stored.
    """
    reorder = np.eye(4)[[*axes, 3]]
    flip = np.diag([*signs, 1.0])
    center = -(np.array(shape) - 1) / 2.0
    flip[:3, 3] = signs * center - center
    return flip @ reorder
