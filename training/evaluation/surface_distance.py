"""Distance between two surfaces between voxels, weighted by area: Learn2Reg's HD95.

Learn2Reg's evaluation takes its Hausdorff distance from DeepMind's *surface-distance*. Its surface runs
between voxels, through the corners where inside and outside meet, and the weight of a corner is the area of
the surface in the cube around it. For hippocampi at 1 mm it is 0.1 to 0.2 mm smaller than a percentile over
surface voxels (:func:`brainseg.training.evaluation.metrics.agreement`): do not compare the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

import numpy as np
from scipy import ndimage
from skimage.measure import marching_cubes, mesh_surface_area

CORNERS = tuple(product((0, 1), repeat=3))
"""Voxels of the cube around a corner; the first is the highest bit of its code."""


def robust_hausdorff(
    reference: np.ndarray,
    predicted: np.ndarray,
    spacing: Sequence[float] | np.ndarray = (1.0, 1.0, 1.0),
    percent: float = 95.0,
) -> float:
    """Return the distance (mm) from the other surface within which ``percent`` of a surface's area lie.

    Parameters
    ----------
    reference, predicted : ndarray of bool, shape (X, Y, Z)
        Masks on the same grid.
    spacing : sequence of float
        Voxel size (mm) along each axis.
    percent : float
        Percentage of the area; the maximum of both directions is returned.

    Returns
    -------
    float
        Distance (mm); NaN if a mask is empty.

    Examples
    --------
    >>> a, b = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    >>> a[2:5, 2:5, 2:5] = b[4:7, 2:5, 2:5] = True
    >>> robust_hausdorff(a, b, (1.5, 1.0, 1.0))
    3.0
    """
    if not reference.any() or not predicted.any():
        return float("nan")
    areas = _areas(tuple(float(s) for s in spacing))
    codes = [_codes(np.pad(mask.astype(bool), 1)) for mask in (reference, predicted)]
    surfaces = [(code > 0) & (code < 255) for code in codes]
    found = []
    for code, own, other in zip(codes, surfaces, surfaces[::-1], strict=True):
        distances = ndimage.distance_transform_edt(~other, sampling=spacing)[own]
        order = np.argsort(distances)
        share = np.cumsum(areas[code[own]][order])
        last = np.searchsorted(share, percent / 100 * share[-1])
        found.append(float(distances[order][min(last, distances.size - 1)]))
    return max(found)


def _codes(mask: np.ndarray) -> np.ndarray:
    """Return for every corner a code of eight bits: which of the eight voxels around it are inside."""
    x, y, z = (n - 1 for n in mask.shape)
    out = np.zeros((x, y, z), np.uint8)
    for i, j, k in CORNERS:
        out = 2 * out + mask[i : i + x, j : j + y, k : k + z]
    return out


@lru_cache(maxsize=4)
def _areas(spacing: tuple[float, ...]) -> np.ndarray:
    """Return the area (mm2) of the surface in the cube around a corner by its code, from marching cubes."""
    out = np.zeros(256)
    for code in range(1, 255):
        cube = np.array([code >> bit & 1 for bit in reversed(range(8))], float).reshape(2, 2, 2)
        vertices, faces, *_ = marching_cubes(cube, 0.5, spacing=spacing)
        out[code] = mesh_surface_area(vertices, faces)
    return out
