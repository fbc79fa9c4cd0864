"""Two hippocampi registered: affine, then diffeomorphic, by their parts and their intensities.

The optimisation is that of whole brains (:mod:`brainseg.models.diffeomorphic`): symmetric, invertible, and
without any training of its own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from . import diffeomorphic
from .diffeomorphic import Level, Options
from .errors import InputError
from .features import intensities
from .hippocampus import Parts
from .memory import kept
from .registration import RegistrationResult, moved, without_folds
from .volume import Grid, transform_points
from .warp import Warp

OPTIONS = Options(
    spacing=1.0,
    levels=(Level(2, 30, 0.5, 2.0, 1.0), Level(1, 15, 0.5, 1.5, 1.0)),
    most=0.8,
    margin=8.0,
)
"""How two hippocampi are registered; chosen on the validation split."""

MAP_WEIGHT, IMAGE_WEIGHT, LOCAL_WEIGHT = 1.0, 0.6, 0.25
"""Weights of the parts' probabilities, the intensities and the locally normalized intensities."""


def register(moving: Parts, fixed: Parts, options: Options = OPTIONS) -> RegistrationResult:
    """Register two hippocampi of one side: affine, then diffeomorphic, symmetric.

    Parameters
    ----------
    moving, fixed : Parts
        What :func:`find` found.
    options : Options
        How the optimisation goes.

    Raises
    ------
    InputError
        If there is no hippocampus in one of them.
    """
    with kept():
        matrix, error = affine(moving, fixed)
        most = max(level.factor for level in options.levels)
        space = diffeomorphic.middle(
            matrix, moving.labels, fixed.labels, options.spacing, options.margin, most
        )
        stacks = [stack(moving, space.grid, space.to_moving), stack(fixed, space.grid, space.to_fixed)]
        flows, folds = without_folds(diffeomorphic.optimise(*stacks, options))
        forward, inverse = diffeomorphic.warps(flows, space)
    return RegistrationResult(matrix, error, forward, inverse, folds, "deep")


def centres(parts: Parts) -> np.ndarray:
    """Centres (mm) of both parts and of the whole, shape (3, 3).

    Raises
    ------
    InputError
        If a part is missing.
    """
    p = parts.probabilities.data.double()
    weights = torch.cat([p, p.sum(0, keepdim=True)]).numpy()
    if weights.sum((1, 2, 3)).min() < 20:
        raise InputError(None, "no hippocampus was found in it", "Give a T1w image cut out about one")
    index = np.indices(weights.shape[1:]).reshape(3, -1)
    flat = weights.reshape(3, -1)
    return transform_points(parts.image.affine, (flat @ index.T) / flat.sum(1, keepdims=True))


def affine(moving: Parts, fixed: Parts, steps: int = 8) -> tuple[np.ndarray, float]:
    """Affine from moving mm to fixed mm: the centres' shift, then Gauss-Newton steps on blurred maps."""
    here, there = centres(moving), centres(fixed)
    matrix = np.eye(4)
    matrix[:3, 3] = (there - here)[2]
    space = diffeomorphic.middle(matrix, moving.labels, fixed.labels, 2.0, 8.0, 1)
    level = Level(1, 1, 1.0, 0, 0)
    for number in range(steps):
        maps = [
            diffeomorphic.at_level(stack(one, space.grid, place)[[0, 1, -1]], level)
            for one, place in ((moving, space.to_moving), (fixed, space.to_fixed))
        ]
        step = diffeomorphic.polish(*maps, space, "rigid" if number < steps // 2 else "affine")
        space = moved(space, step)
    matrix = space.to_fixed @ np.linalg.inv(space.to_moving)
    error = np.linalg.norm(transform_points(matrix, here) - there, axis=1)
    return matrix, float(np.median(error))


def stack(parts: Parts, grid: Grid, place: np.ndarray) -> Tensor:
    """What is matched, on the middle grid.

    Parameters
    ----------
    parts : Parts
        A hippocampus.
    grid : Grid
        The middle space's.
    place : ndarray, shape (4, 4)
        From its mm to the hippocampus's.

    Returns
    -------
    Tensor, shape (5, X, Y, Z)
        Two maps, intensities, local intensities, the field of view.
    """
    warp = Warp((place,))
    maps = warp.resample(parts.probabilities, grid).data
    image, inside = warp.resample(parts.image, grid).data, warp.resample(parts.inside, grid).data
    plain, local = intensities(image, inside)
    channels = [MAP_WEIGHT * maps, IMAGE_WEIGHT * plain, LOCAL_WEIGHT * local, inside[None]]
    return torch.cat(channels)
