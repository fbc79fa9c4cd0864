"""Brains that are smaller than their skull: the cavity stays, and fluid fills the gap."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .config import GeneratorConfig
from .deformation import uniform


@dataclass(frozen=True)
class Atrophy:
    """Atrophy of one head.

    Attributes
    ----------
    scale : float
        Size of the brain relative to its own, about the center of the atlas frame.
    thinned : bool
        Whether the outermost millimeter of its tissue is fluid.
    """

    scale: float
    thinned: bool


def draw_atrophy(config: GeneratorConfig) -> Atrophy | None:
    """Return a random atrophy, or None; no random number is drawn if the configuration has none."""
    if config.atrophy <= 0 or uniform(0, 1) >= config.atrophy:
        return None
    return Atrophy(uniform(*config.atrophy_scale), uniform(0, 1) < config.atrophy_thinning)


def thinned(labels: Tensor, tissue: Tensor, fluid: int) -> Tensor:
    """Return a label map whose tissue lost the voxels that share a face with anything else.

    Parameters
    ----------
    labels : Tensor of uint8, shape (X, Y, Z)
        Positions in the source table, voxels of 1 mm.
    tissue : Tensor of bool, shape (N,)
        Whether a position is tissue of the brain; the ventricles count, so that they keep their size.
    fluid : int
        Position of the fluid.
    """
    rest = ~tissue[labels.int()]
    near = rest.clone()
    for axis in range(3):
        count = rest.shape[axis] - 1
        near.narrow(axis, 0, count).logical_or_(rest.narrow(axis, 1, count))
        near.narrow(axis, 1, count).logical_or_(rest.narrow(axis, 0, count))
    lost = near & ~rest
    return labels.masked_fill(lost, fluid)


def shrunk(voxel: list[Tensor], center: Tensor, scale: float) -> list[Tensor]:
    """Return where a smaller brain has what lies at given places.

    Parameters
    ----------
    voxel : list of Tensor
        Coordinates (voxels of the label map), a tensor for each axis.
    center : Tensor, shape (3,)
        Center of the brain (voxels).
    scale : float
        Scale of the brain.
    """
    return [(v - float(c)) / scale + float(c) for v, c in zip(voxel, center, strict=True)]
