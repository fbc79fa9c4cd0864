"""Two hippocampi registered: affine, then diffeomorphic, symmetric and invertible.

A network that was trained on the Dice of manual labels predicts the velocity between them from the parts that
another found and from the intensities: so the borders that raters put where neither image shows one come
along. Without it the parts and the intensities are matched by the optimisation of whole brains
(:mod:`brainseg.models.deformation.diffeomorphic`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Level, Middle, Options
from ..deformation.velocity import exponential, identity, sample
from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.cropping import centered_grid
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
"""How two hippocampi are registered; chosen on the validation split."""

NETWORK = "hippocampus-registration"
"""Weights that predict the velocity."""

EDGE = 2
"""Voxels at the edge of the network's box over which the velocity falls to zero."""

LOOKS = 2
"""Times that the network looks, each time at what is left; chosen on the validation split."""

SMOOTHING = 1.0
"""Standard deviation (mm) of the smoothing with which labels are carried; chosen on the validation split."""

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
        What :func:`brainseg.models.hippocampus.hippocampus.find` found.
    options : Options
        How the optimisation goes, where no network predicts.
    network : str or None
        Weights that predict the velocity; None optimises it.
    device : str
        Where the network runs.

    Raises
    ------
    InputError
        If there is no hippocampus in one of them.
    """
    with kept():
        matrix, error = affine(moving, fixed)
        a, b = moving.labels, fixed.labels
        if network is None:
            most = max(level.factor for level in options.levels)
            space = diffeomorphic.middle(matrix, a, b, options.spacing, options.margin, most)
            here, there = _stacks(moving, fixed, space)
            velocity = diffeomorphic.optimise(here, there, options)
        else:
            model = zoo.load_once(network, device)
            space = diffeomorphic.middle(matrix, a, b, model.card["spacing"], 0.0, 1)
            space = replace(space, grid=_box(space.grid, model.card["shape"]))
            here, there = _stacks(moving, fixed, space)
            velocity = _predicted(model.network, here, there, device)
        flows, folds = without_folds(velocity)
        forward, inverse = diffeomorphic.warps(flows, space)
    return RegistrationResult(matrix, error, forward, inverse, folds, "deep")


def _predicted(network: VelocityUNet, here: Tensor, there: Tensor, device: str) -> Tensor:
    """What the network says of two stacks, and again of what that has left: the sum of both."""
    index = identity((here.shape[1], here.shape[2], here.shape[3]), here)
    velocity = predict(network, here, there, EDGE, device, flip=True)
    for _ in range(LOOKS - 1):
        left = (
            sample(here, index + exponential(-velocity / 2)),
            sample(there, index + exponential(velocity / 2)),
        )
        velocity = velocity + predict(network, *left, EDGE, device, flip=True)
    return velocity


def _stacks(moving: Parts, fixed: Parts, space: Middle) -> tuple[Tensor, Tensor]:
    return stack(moving, space.grid, space.to_moving), stack(fixed, space.grid, space.to_fixed)


def _box(found: Grid, trained: list[int]) -> Grid:
    """The box that a network was trained on about two hippocampi, larger if these are."""
    x, y, z = (max(usual, n + 2 * EDGE) for usual, n in zip(trained, found.shape, strict=True))
    return centered_grid(found, (x, y, z))


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
        a, b = (diffeomorphic.at_level(both[[0, 1, -1]], level) for both in _stacks(moving, fixed, space))
        step = diffeomorphic.refine_linear(a, b, space, "rigid" if number < steps // 2 else "affine")
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
        See :func:`channels`.
    """
    warp = Warp((place,))
    maps = warp.resample(parts.probabilities, grid).data
    return channels(maps, *(warp.resample(v, grid).data for v in (parts.image, parts.inside)))


def channels(maps: Tensor, image: Tensor, inside: Tensor) -> Tensor:
    """Two maps (2, X, Y, Z), intensities, local intensities and the field of view as what is matched."""
    plain, local = intensities(image, inside)
    return torch.cat([MAP_WEIGHT * maps, IMAGE_WEIGHT * plain, LOCAL_WEIGHT * local, inside[None]])
