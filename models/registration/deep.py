"""Diffeomorphic registration of two brains, which a network can initialize.

The diffeomorphism matches maps of the structures together with the intensities of images of one contrast, or
with images synthesized from the tissue probabilities.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Options
from ..deformation.velocity import exponential, inverse_consistent, smooth
from ..networks import velocity_unet, zoo
from . import features
from .result import Anatomy, RegistrationResult

STARTED = replace(Options(), levels=(replace(Options().levels[-1], steps=8),))
"""Options of an optimization that starts from a network's prediction."""


def register(
    moving: Anatomy,
    fixed: Anatomy,
    linear: RegistrationResult,
    options: Options,
    network: str | None = None,
) -> RegistrationResult:
    """Register two brains diffeomorphically, starting from an affine alignment.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains of any contrast.
    linear : RegistrationResult
        Their affine alignment.
    options : Options
        Settings of the optimization.
    network : str, optional
        Weights that predict its start.

    Returns
    -------
    RegistrationResult
        Alignment with both directions of the diffeomorphism.
    """
    scale = 1 if network is None else round(zoo.read_card(network)["spacing"] / options.spacing)
    most = max(scale, *(level.factor for level in options.levels))
    space = diffeomorphic.middle(
        linear.matrix, moving.structures, fixed.structures, options.spacing, options.margin, most
    )
    pair = features.feature_maps(moving, fixed, space, options.emphasis)
    start = None if network is None else predicted(network, *pair, scale, options.margin)
    velocity = diffeomorphic.optimize(*pair, options, start, scale)
    flows, folds = without_folds(velocity)
    forward, inverse = diffeomorphic.warps(flows, space)
    return replace(linear, forward=forward, inverse=inverse, folds=folds, engine="deep")


def predicted(name: str, moving: Tensor, fixed: Tensor, factor: int, margin: float) -> Tensor:
    """Return the velocity that a network predicts from two feature maps.

    Parameters
    ----------
    name : str
        Weights.
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Feature maps.
    factor : int
        Voxel size of the network in voxels of the feature maps.
    margin : float
        Width (mm) of the edge over which the velocity falls to zero.

    Returns
    -------
    Tensor, shape (3, X, Y, Z)
        Velocity (voxels) at the network's voxel size.
    """
    model = zoo.load_once(name)
    network = cast(velocity_unet.VelocityUNet, model.network)
    here, there = (
        F.avg_pool3d(features.network_input(maps, network.inputs), factor) for maps in (moving, fixed)
    )
    edge = max(2, round(margin / model.card["spacing"] / 1.5))
    return velocity_unet.predict(network, here, there, edge)


def without_folds(
    velocity: Tensor, rounds: int = 6, steepest: float = 12.0, allowed: float = 1e-5
) -> tuple[tuple[Tensor, Tensor], float]:
    """Return the flows of a velocity and of its negative, smoothed where they fold or nearly fold.

    Parameters
    ----------
    velocity : Tensor, shape (3, X, Y, Z)
        Voxels per unit time.
    rounds : int
        Largest number of smoothing rounds.
    steepest : float
        Change of volume (either direction) that counts as folded.
    allowed : float
        Tolerated share of such voxels.

    Returns
    -------
    flows : tuple of Tensor
        Displacements (voxels).
    folds : float
        Share of the voxels that fold.
    """
    for left in reversed(range(rounds + 1)):
        flows = inverse_consistent(exponential(velocity), exponential(-velocity))
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
