"""Registration of two hippocampi: affine, then diffeomorphic, symmetric and invertible.

A network, trained on the Dice of manual labels, predicts the velocity from the parts and the intensities.
It thus also learns borders that follow a protocol rather than a contrast. Without it the parts and the
intensities are matched by the optimization of whole brains
(:mod:`brainseg.models.deformation.diffeomorphic`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Level, Middle, Options
from ..deformation.velocity import exponential, identity
from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.cropping import centered_grid
from ..geometry.trilinear import sample
from ..geometry.volume import Grid, transform_points
from ..networks import zoo
from ..networks.malloc import kept
from ..networks.velocity_unet import VelocityUNet, predict
from ..registration.deep import without_folds
from ..registration.features import intensities
from ..registration.linear import moved
from ..registration.result import RegistrationResult
from .hippocampus import Parts

OPTIONS = Options(
    spacing=1.0,
    levels=(Level(2, 30, 0.5, 2.0, 1.0), Level(1, 15, 0.5, 1.5, 1.0)),
    most=0.8,
    margin=8.0,
)
"""Options of the optimization; chosen on the validation split."""

NETWORK = "hippocampus-registration"
"""Weights that predict the velocity."""

EDGE = 2
"""Voxels at the edge of the network's box over which the velocity falls to zero."""

PASSES = 2
"""Passes of the network, each on the residual of the previous one; chosen on the validation split."""

SMOOTHING = 1.0
"""Standard deviation (mm) of the smoothing in label transfer; chosen on the validation split."""

MAP_WEIGHT, IMAGE_WEIGHT, LOCAL_WEIGHT = 1.0, 0.6, 0.25
"""Weights of the parts' probabilities, the intensities and the locally normalized intensities."""


def register(
    moving: Parts,
    fixed: Parts,
    options: Options = OPTIONS,
    *,
    network: str | None = NETWORK,
    device: str = "cpu",
) -> RegistrationResult:
    """Register two hippocampi of one side: affine, then diffeomorphic, symmetric.

    Parameters
    ----------
    moving, fixed : Parts
        Results of :func:`brainseg.models.hippocampus.hippocampus.find`.
    options : Options
        Options of the optimization, if no network predicts.
    network : str or None
        Weights that predict the velocity; None optimizes it.
    device : str
        Device of the network.

    Returns
    -------
    RegistrationResult
        Alignment, moving to fixed.

    Raises
    ------
    InputError
        If one image has no hippocampus.
    """
    with kept():
        matrix, error = affine(moving, fixed)
        a, b = moving.labels, fixed.labels
        if network is None:
            most = max(level.factor for level in options.levels)
            space = diffeomorphic.middle(matrix, a, b, options.spacing, options.margin, most)
            here, there = _feature_maps(moving, fixed, space)
            velocity = diffeomorphic.optimize(here, there, options)
        else:
            model = zoo.load_once(network, device)
            space = diffeomorphic.middle(matrix, a, b, model.card["spacing"], 0.0, 1)
            space = replace(space, grid=_box(space.grid, model.card["shape"]))
            here, there = _feature_maps(moving, fixed, space)
            velocity = _predicted(cast(VelocityUNet, model.network), here, there, device)
        flows, folds = without_folds(velocity)
        forward, inverse = diffeomorphic.warps(flows, space)
    return RegistrationResult(matrix, error, forward, inverse, folds, "deep")


def _predicted(network: VelocityUNet, here: Tensor, there: Tensor, device: str) -> Tensor:
    """Return the velocity between two feature maps, the sum over the network's passes."""
    index = identity((here.shape[1], here.shape[2], here.shape[3]), here)
    velocity = predict(network, here, there, EDGE, device, flip=True)
    for _ in range(PASSES - 1):
        left = (
            sample(here, index + exponential(-velocity / 2)),
            sample(there, index + exponential(velocity / 2)),
        )
        velocity = velocity + predict(network, *left, EDGE, device, flip=True)
    return velocity


def _feature_maps(moving: Parts, fixed: Parts, space: Middle) -> tuple[Tensor, Tensor]:
    return feature_maps(moving, space.grid, space.to_moving), feature_maps(fixed, space.grid, space.to_fixed)


def _box(found: Grid, trained: list[int]) -> Grid:
    """Return the network's box around two hippocampi, enlarged if they are larger."""
    x, y, z = (max(usual, n + 2 * EDGE) for usual, n in zip(trained, found.shape, strict=True))
    return centered_grid(found, (x, y, z))


def centers(parts: Parts) -> np.ndarray:
    """Return the centers of mass (RAS mm) of both parts and of the whole.

    Parameters
    ----------
    parts : Parts
        A hippocampus.

    Returns
    -------
    ndarray, shape (3, 3)
        Anterior part, posterior part, whole.

    Raises
    ------
    InputError
        If a part is missing.
    """
    p = parts.probabilities.data.double()
    weights = torch.cat([p, p.sum(0, keepdim=True)]).numpy()
    if weights.sum((1, 2, 3)).min() < 20:
        raise InputError(None, "no hippocampus found", "Use a T1w image cut out around one hippocampus")
    index = np.indices(weights.shape[1:]).reshape(3, -1)
    flat = weights.reshape(3, -1)
    return transform_points(parts.image.affine, (flat @ index.T) / flat.sum(1, keepdims=True))


def affine(moving: Parts, fixed: Parts, steps: int = 8) -> tuple[np.ndarray, float]:
    """Return the affine by the centers' shift, then by Gauss-Newton steps on blurred maps.

    Parameters
    ----------
    moving, fixed : Parts
        Two hippocampi of one side.
    steps : int
        Gauss-Newton steps, the first half rigid.

    Returns
    -------
    matrix : ndarray, shape (4, 4)
        From moving mm to fixed mm.
    error : float
        Median distance (mm) of the centers after alignment.
    """
    here, there = centers(moving), centers(fixed)
    matrix = np.eye(4)
    matrix[:3, 3] = (there - here)[2]
    space = diffeomorphic.middle(matrix, moving.labels, fixed.labels, 2.0, 8.0, 1)
    level = Level(1, 1, 1.0, 0, 0)
    for number in range(steps):
        a, b = (
            diffeomorphic.at_level(both[[0, 1, -1]], level) for both in _feature_maps(moving, fixed, space)
        )
        step = diffeomorphic.refine_linear(a, b, space, "rigid" if number < steps // 2 else "affine")
        space = moved(space, step)
    matrix = space.to_fixed @ np.linalg.inv(space.to_moving)
    error = np.linalg.norm(transform_points(matrix, here) - there, axis=1)
    return matrix, float(np.median(error))


def feature_maps(parts: Parts, grid: Grid, place: np.ndarray) -> Tensor:
    """Return the feature maps of a hippocampus on the middle grid.

    Parameters
    ----------
    parts : Parts
        A hippocampus.
    grid : Grid
        Grid of the middle space.
    place : ndarray, shape (4, 4)
        From the mm of the middle space to those of the hippocampus.

    Returns
    -------
    Tensor, shape (5, X, Y, Z)
        See :func:`channels`.
    """
    warp = Warp((place,))
    maps = warp.resample(parts.probabilities, grid).data
    return channels(maps, *(warp.resample(v, grid).data for v in (parts.image, parts.inside)))


def channels(maps: Tensor, image: Tensor, inside: Tensor) -> Tensor:
    """Return the weighted feature maps of a hippocampus.

    Parameters
    ----------
    maps : Tensor, shape (2, X, Y, Z)
        Probabilities of the parts.
    image, inside : Tensor, shape (X, Y, Z)
        Intensities in [0, 1], and field of view.

    Returns
    -------
    Tensor, shape (5, X, Y, Z)
        Parts, intensities, locally normalized intensities and field of view.
    """
    plain, local = intensities(image, inside)
    return torch.cat([MAP_WEIGHT * maps, IMAGE_WEIGHT * plain, LOCAL_WEIGHT * local, inside[None]])
