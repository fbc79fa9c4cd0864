"""Regions of a mask: holes."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def filled(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask: what the outside does not reach through faces of voxels.

    Equals scipy's ``binary_fill_holes`` and is several times faster.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Mask.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The mask without holes.

    Examples
    --------
    >>> shell = np.zeros((5, 5, 5), bool); shell[1:4, 1:4, 1:4] = True; shell[2, 2, 2] = False
    >>> int(filled(shell).sum())
    27
    """
    if not mask.any():
        return mask.copy()
    window = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis)))
        window.append(slice(int(line[0]), int(line[-1]) + 1))
    part = tuple(window)
    pieces, _ = ndimage.label(np.pad(~mask[part], 1, constant_values=True))
    out = np.zeros(mask.shape, bool)
    out[part] = pieces[1:-1, 1:-1, 1:-1] != pieces[0, 0, 0]
    return out
