"""Linear registration of two brains, by the centroids and then by the maps of their structures.

The fit to the centroids is in closed form (EasyReg, Iglesias 2023), for any contrast and initial position.
Gauss-Newton steps on smoothed maps of the structures refine it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Level, Middle
from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.affine import fit_affine
from ..geometry.volume import transform_points
from . import features
from .result import Anatomy, RegistrationResult

LEFT_OUT = (24, 5, 44)
"""Structures with unreliable centroids: outer CSF and thin horns of the ventricles."""

Centroids = Mapping[int, tuple[float, float, float]]
"""Centroid (RAS mm) of every structure by FreeSurfer id."""


def align(moving: Centroids, fixed: Centroids, kind: str = "affine") -> RegistrationResult:
    """Align two brains by the centroids of their structures.

    Parameters
    ----------
    moving, fixed : mapping of int to tuple
        Centroid (RAS mm) of every structure by FreeSurfer id.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.

    Returns
    -------
    RegistrationResult
        Linear alignment, moving to fixed.

    Raises
    ------
    InputError
        If both share too few structures.

    Notes
    -----
    The fits of both directions are averaged, so that exchanging the brains inverts the result.
    """
    shared = sorted((set(moving) & set(fixed)) - set(LEFT_OUT))
    if len(shared) < 6:
        raise InputError(
            None, f"too few structures for the alignment ({len(shared)})", "Inspect the segmentation"
        )
    there = np.array([moving[i] for i in shared])
    here = np.array([fixed[i] for i in shared])
    kind = kind if kind != "affine" or len(shared) >= 12 else "similarity"
    onto, back = fit_affine(there, here, kind=kind), fit_affine(here, there, kind=kind)
    matrix = onto @ diffeomorphic.half_affine(np.linalg.solve(onto, np.linalg.inv(back)))
    error = np.linalg.norm(transform_points(matrix, there) - here, axis=1)
    return _linear(matrix, float(np.median(error)))


def _linear(matrix: np.ndarray, error_mm: float) -> RegistrationResult:
    return RegistrationResult(matrix, error_mm, Warp((np.linalg.inv(matrix),)), Warp((matrix,)))


def affine(moving: Anatomy, fixed: Anatomy, kind: str = "affine", steps: int = 6) -> RegistrationResult:
    """Align two brains by the centroids, then by the maps of their structures.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains; parts of one suffice.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.
    steps : int
        Gauss-Newton steps on the maps.

    Returns
    -------
    RegistrationResult
        Linear alignment, moving to fixed.

    Raises
    ------
    InputError
        If both share too few structures.
    """
    found = align(moving.centroids, fixed.centroids, kind)
    level = Level(1, 1, 1.0, 0, 0)
    space = diffeomorphic.middle(found.matrix, moving.structures, fixed.structures, 4.0, 8.0, 1)
    for _ in range(steps):
        here, there = (
            diffeomorphic.at_level(
                diffeomorphic.maps(one.structures, space.grid, place, features.GROUPS), level
            )
            for one, place in ((moving, space.to_moving), (fixed, space.to_fixed))
        )
        step = diffeomorphic.refine_linear(here, there, space, kind)
        space = moved(space, step)
        if np.abs(transform_points(step, space.grid.corners()) - space.grid.corners()).max() < 0.05:
            break
    return _linear(space.to_fixed @ np.linalg.inv(space.to_moving), found.error_mm)


def moved(space: Middle, step: np.ndarray) -> Middle:
    """Return the middle space after a motion, half of it on either side.

    Parameters
    ----------
    space : Middle
        Middle space.
    step : ndarray, shape (4, 4)
        Motion (mm) of the moving brain in the middle space.

    Returns
    -------
    Middle
        The same grid with updated matrices.
    """
    half = diffeomorphic.half_affine(step)
    return replace(space, to_moving=space.to_moving @ np.linalg.inv(half), to_fixed=space.to_fixed @ half)
