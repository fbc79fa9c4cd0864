"""Registration of an image to another, or to a template: affine, then diffeomorphic, whatever the contrast.

The affine comes from the centroids of the structures in closed form (EasyReg's idea, Iglesias 2023), so that
any contrast aligns from any starting position, and is polished on the maps of the structures. The
diffeomorphism matches these maps together with the intensities, where both images have the same contrast, or
with the images that the tissues' probabilities make, where they have not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Level, Middle, Options
from ..deformation.velocity import exponential, paired, smooth
from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.affine import fit_affine
from ..geometry.volume import Volume, transform_points
from ..io import itk
from ..networks import velocity_unet, zoo
from ..networks.malloc import kept
from . import features

LEFT_OUT = (24, 5, 44)
"""Structures whose centroids say little of where the brain is: fluid around it, thin horns."""

STARTED = replace(Options(), levels=(replace(Options().levels[-1], steps=8),))
"""How the optimisation goes from where a network predicts that it ends."""

NETWORK = "registration"
"""Weights that predict where the registration of adult brains ends."""

ENGINES = ("deep", "ants", "none")


@dataclass(frozen=True)
class Anatomy:
    """An image with what was found in it.

    Attributes
    ----------
    image : Volume, float32
        Bias-corrected.
    mask : Volume, uint8
        Brain.
    structures : Volume of integers
        FreeSurfer ids.
    centroids : dict of int to tuple
        Centre (mm) of every structure.
    probabilities : dict of str to Volume
        ``GM``, ``WM``, ``CSF``; may be empty.
    """

    image: Volume
    mask: Volume
    structures: Volume
    centroids: dict[int, tuple[float, float, float]]
    probabilities: dict[str, Volume]


@dataclass(frozen=True)
class RegistrationResult:
    """An alignment.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        Affine, moving mm to fixed mm (RAS).
    error_mm : float
        Median distance of the structures from their counterparts after the affine.
    forward, inverse : Warp
        What resamples moving onto fixed, and fixed onto moving.
    folds : float
        Share of voxels where space folds.
    engine : str
        ``deep``, ``ants`` or ``none``.
    """

    matrix: np.ndarray
    error_mm: float
    forward: Warp
    inverse: Warp
    folds: float = 0.0
    engine: str = "none"


def align(centroids: dict[int, tuple], template, kind: str = "affine") -> RegistrationResult:
    """Align by the centroids of structures.

    Parameters
    ----------
    centroids : dict of int to tuple
        Centre (mm) of every structure by FreeSurfer id.
    template : Template or Anatomy
        Where to: anything with ``centroids``.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.

    Raises
    ------
    InputError
        If both share too few structures.

    Notes
    -----
    The fit each way is averaged with the inverse of the fit the other way, so that changing places gives the
    inverse.
    """
    shared = sorted((set(centroids) & set(template.centroids)) - set(LEFT_OUT))
    if len(shared) < 6:
        raise InputError(None, f"only {len(shared)} structures to align it by", "Look at the segmentation")
    moving = np.array([centroids[i] for i in shared])
    fixed = np.array([template.centroids[i] for i in shared])
    kind = kind if kind != "affine" or len(shared) >= 12 else "similarity"
    there, back = fit_affine(moving, fixed, kind=kind), fit_affine(fixed, moving, kind=kind)
    matrix = there @ diffeomorphic.half_way(np.linalg.solve(there, np.linalg.inv(back)))
    error = np.linalg.norm(transform_points(matrix, moving) - fixed, axis=1)
    return _linear(matrix, float(np.median(error)))


def _linear(matrix: np.ndarray, error_mm: float) -> RegistrationResult:
    return RegistrationResult(matrix, error_mm, Warp((np.linalg.inv(matrix),)), Warp((matrix,)))


def affine(moving: Anatomy, fixed: Anatomy, kind: str = "affine", steps: int = 6) -> RegistrationResult:
    """Align by the centroids, then by the maps of the structures.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains; parts of one suffice.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.
    steps : int
        Gauss-Newton steps on the maps.

    Raises
    ------
    InputError
        If both share too few structures.
    """
    found = align(moving.centroids, fixed, kind)
    level = Level(1, 1, 1.0, 0, 0)
    space = diffeomorphic.middle(found.matrix, moving.structures, fixed.structures, 4.0, 8.0, 1)
    for _ in range(steps):
        here, there = (
            diffeomorphic.at_level(
                diffeomorphic.maps(one.structures, space.grid, place, features.GROUPS), level
            )
            for one, place in ((moving, space.to_moving), (fixed, space.to_fixed))
        )
        step = diffeomorphic.polish(here, there, space, kind)
        space = moved(space, step)
        if np.abs(transform_points(step, space.grid.corners()) - space.grid.corners()).max() < 0.05:
            break
    return _linear(space.to_fixed @ np.linalg.inv(space.to_moving), found.error_mm)


def _middle(
    matrix: np.ndarray, moving: Anatomy, fixed: Anatomy, spacing: float, margin: float, multiple: int
):
    return diffeomorphic.middle(matrix, moving.structures, fixed.structures, spacing, margin, multiple)


def moved(space: Middle, step: np.ndarray) -> Middle:
    """The middle space after a motion, half of it on either side."""
    half = diffeomorphic.half_way(step)
    return replace(space, to_moving=space.to_moving @ np.linalg.inv(half), to_fixed=space.to_fixed @ half)


def register(
    moving: Anatomy,
    fixed: Anatomy,
    *,
    engine: str = "deep",
    refine: int | None = None,
    options: Options | None = None,
    network: str | None = None,
) -> RegistrationResult:
    """Register two brains: affine, then diffeomorphic.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains of any contrast.
    engine : {'deep', 'ants', 'none'}
        ``none`` stays affine; ``ants`` is SyN with antspyx's default settings.
    refine : int, optional
        Steps at the finest level, in place of the default.
    options : Options, optional
        How the optimisation goes.
    network : str, optional
        Weights that predict where the optimisation begins (:mod:`brainseg.models.networks.velocity_unet`).

    Raises
    ------
    InputError
        If both share too few structures.
    """
    with kept():
        return _register(
            moving, fixed, engine, refine, options or (STARTED if network else Options()), network
        )


def _register(
    moving: Anatomy, fixed: Anatomy, engine: str, refine: int | None, options: Options, network: str | None
) -> RegistrationResult:
    linear = affine(moving, fixed)
    if engine == "none":
        return linear
    if engine == "ants":
        from .syn import register as syn

        return syn(moving, fixed, linear)
    if refine is not None:
        *coarse, finest = options.levels
        options = replace(options, levels=(*coarse, replace(finest, steps=refine)))
    scale = 1 if network is None else round(zoo.read_card(network)["spacing"] / options.spacing)
    most = max(scale, *(level.factor for level in options.levels))
    space = diffeomorphic.middle(
        linear.matrix, moving.structures, fixed.structures, options.spacing, options.margin, most
    )
    pair = features.stacks(moving, fixed, space, options.emphasis)
    start = None if network is None else predicted(network, *pair, scale, options.margin)
    velocity = diffeomorphic.optimise(*pair, options, start, scale)
    flows, folds = without_folds(velocity)
    forward, inverse = diffeomorphic.warps(flows, space)
    return replace(linear, forward=forward, inverse=inverse, folds=folds, engine="deep")


def predicted(name: str, moving: Tensor, fixed: Tensor, factor: int, margin: float) -> Tensor:
    """Velocity that a network predicts from two stacks, at a voxel size ``factor`` times theirs.

    Parameters
    ----------
    name : str
        Weights.
    moving, fixed : Tensor, shape (C, X, Y, Z)
        What the optimisation matches.
    factor : int
        Their voxels along a side of the network's.
    margin : float
        Room (mm) at the edge over which the velocity falls to zero.
    """
    model = zoo.load_once(name)
    here, there = (
        F.avg_pool3d(features.network_input(stack, model.network.inputs), factor) for stack in (moving, fixed)
    )
    edge = max(2, round(margin / model.card["spacing"] / 1.5))
    return velocity_unet.predict(model.network, here, there, edge)


def without_folds(
    velocity: Tensor, rounds: int = 6, steepest: float = 12.0, allowed: float = 1e-5
) -> tuple[tuple[Tensor, Tensor], float]:
    """Flows of a velocity and of its negative, smoothed where they fold or nearly do.

    Parameters
    ----------
    velocity : Tensor, shape (3, X, Y, Z)
        Voxels per unit time.
    rounds : int
        How often it is smoothed, at most.
    steepest : float
        Change of volume (either way) from which space is as good as folded.
    allowed : float
        Share of such voxels that is left alone.

    Returns
    -------
    flows : tuple of Tensor
        Displacements (voxels).
    folds : float
        Share of the voxels that fold.
    """
    for left in reversed(range(rounds + 1)):
        flows = paired(exponential(velocity), exponential(-velocity))
        change = [diffeomorphic.jacobian(flow) for flow in flows]
        folds = max(float((c <= 0).float().mean()) for c in change)
        bad = torch.stack([(c < 1 / steepest) | (c > steepest) for c in change]).any(0)
        if not left or float(bad.float().mean()) <= allowed:
            break
        grown = torch.zeros(velocity.shape[1:])
        grown[:-1, :-1, :-1] = bad.float()
        share = (smooth(grown[None], 2.0) * 20).clamp(max=1)
        velocity = velocity + share * (smooth(velocity, 1.2) - velocity)
    return flows, folds


def write_transform(path: str | Path | BinaryIO, matrix: np.ndarray) -> None:
    """Write an affine as an ITK composite transform (HDF5) that resamples image A onto B.

    Parameters
    ----------
    path : path-like or file
        ``from-A_to-B_mode-image_xfm.h5``.
    matrix : ndarray, shape (4, 4)
        Points (RAS mm) of A to points of B. ITK stores the opposite way, from B's points to A's, in LPS.
    """
    itk.write(path, Warp((np.linalg.inv(matrix),)))
