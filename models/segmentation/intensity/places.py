"""Where in a brain a structure can be: in the neighborhood of its place in the prior.

Every structure has a small probability everywhere, so that the intensities can correct the prior at its
borders. Far away, a voxel with the intensity of a structure is something else: the dark rim of a wide mask
in a T2-weighted scan has that of the pallidum.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

EVERYWHERE = (0, 2, 3, 24, 4, 5, 14, 15)
"""FreeSurfer ids without one place: background, white matter and cortex of the cerebrum, outer CSF; and the
ventricles, which enlarged reach far beyond that of the prior, and whose intensity the CSF has, too."""

CERTAIN = 0.2
"""Probability from which a voxel is in a structure's place; half its maximum if that is less."""

MARGIN = 8.0
"""Distance (mm) from the box around that place, along every axis, up to which the structure can be."""


def far_off(maps: Tensor, inside: Tensor, structures: tuple[int, ...], spacing: np.ndarray) -> Tensor:
    """Return where the structures cannot be.

    Parameters
    ----------
    maps : Tensor, shape (C, X, Y, Z)
        Probabilities without the intensities.
    inside : Tensor of bool, shape (X, Y, Z)
        The brain, with N voxels.
    structures : tuple of int
        FreeSurfer id (without side) of every map.
    spacing : ndarray, shape (3,)
        Voxel size (mm).

    Returns
    -------
    Tensor of bool, shape (C, N)
        Whether a voxel of the brain is far from the structure's place; nowhere for those without a place.
    """
    voxels = inside.nonzero().to(torch.int16).T.contiguous()
    out = torch.zeros(len(maps), voxels.shape[1], dtype=torch.bool)
    for row, index, values in zip(out, structures, maps, strict=True):
        some = values[::2, ::2, ::2]
        least = min(CERTAIN, float(some.max()) / 2)
        if index in EVERYWHERE or least <= 0:
            continue
        place = some > least
        for axis, line in enumerate(voxels):
            along = place.any(tuple(other for other in range(3) if other != axis))
            first, last = along.nonzero()[[0, -1], 0].tolist()
            pad = 2 + math.ceil(MARGIN / float(spacing[axis]))
            row |= (line < 2 * first - pad) | (line > 2 * last + pad)
    return out
