"""Orientation of voxel axes: the closest anatomical axis of each, and another order of the axes.

The rule is that of ``nibabel.orientations``; training machines may lack nibabel.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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


def is_turn(matrix: np.ndarray) -> bool:
    """Return whether a matrix of integers, shape (3, 3), only permutes and reverses axes."""
    size = np.abs(matrix)
    return bool((size.sum(0) == 1).all() and (size.sum(1) == 1).all())


def turned(data: Tensor, matrix: np.ndarray, start: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """Return a box of voxels with permuted and reversed axes; nothing is interpolated.

    Parameters
    ----------
    data : Tensor, shape (..., X, Y, Z)
        Values.
    matrix : ndarray of int, shape (3, 3)
        From indices of the box to those of ``data``, without the translation; see :func:`is_turn`.
    start : ndarray of int, shape (3,)
        Index in ``data`` of the first voxel of the box.
    shape : tuple of int
        Voxels of the box.

    Returns
    -------
    Tensor, shape (..., *shape)
        Values, zero outside ``data``.

    Examples
    --------
    >>> mirror = np.diag([-1, 1, 1])
    >>> turned(torch.arange(3).view(3, 1, 1), mirror, np.array([2, 0, 0]), (4, 1, 1)).flatten().tolist()
    [2, 1, 0, 0]
    """
    lead = data.ndim - 3
    order = np.abs(matrix).argmax(0)  # the axis of the data for each of the box
    source, target = [slice(None)] * data.ndim, [slice(None)] * data.ndim
    reverse: list[int] = []
    for k, axis in enumerate(order):
        first, count = int(start[axis]), shape[k]
        if matrix[axis, k] < 0:
            first = first - count + 1
            reverse.append(lead + int(axis))
        low, high = max(first, 0), max(min(first + count, data.shape[lead + axis]), max(first, 0))
        source[lead + axis] = slice(low, high)
        ends = (low - first, high - first)
        target[lead + k] = slice(*ends) if matrix[axis, k] > 0 else slice(count - ends[1], count - ends[0])
    part = data[tuple(source)]
    part = part.flip(reverse) if reverse else part
    out = torch.zeros(*data.shape[:lead], *shape, dtype=data.dtype, device=data.device)
    out[tuple(target)] = part.permute(*range(lead), *(lead + int(axis) for axis in order))
    return out
