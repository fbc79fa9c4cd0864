"""Ventricles that are wider or narrower than those of the label maps, with the tissue around them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .deformation import BOX, GRID

STRUCTURES = (4, 5, 14)
"""FreeSurfer ids without side of the ventricles whose walls move: lateral, temporal horn and third."""

FINER = 2
"""Factor of the finer grid on which the walls are found."""

SMOOTHING = 5.0
"""Standard deviation (mm) of the smoothing of the ventricles: how far from the walls tissue moves."""

FARTHEST = 3.0
"""Largest displacement (mm) without folds."""


def walls(labels: Tensor, structure: np.ndarray, from_atlas: Tensor) -> Tensor:
    """Return a displacement (mm) that makes the ventricles of a label map narrower.

    It is the gradient of the smoothed ventricles with the opposite sign, so that it is largest at their walls
    and points out of them: whoever looks there finds tissue. Its largest length is 1 mm. A multiple of up to
    3 mm has no folds, as its slope is at most about 0.27 for each millimeter, inside narrow ventricles.

    Parameters
    ----------
    labels : Tensor of uint8, shape (X, Y, Z)
        Positions in the source table, voxels of 1 mm.
    structure : ndarray of int, shape (N,)
        Structure of every position.
    from_atlas : Tensor, shape (4, 4)
        Matrix from the atlas frame (mm) to voxels of the map.

    Returns
    -------
    Tensor, shape (1, 3, GRID, GRID, GRID)
        Displacement on the atlas cube; zero for a map without ventricles.
    """
    inside = torch.from_numpy(np.isin(structure, STRUCTURES)).to(labels.device)
    count = GRID * FINER
    line = torch.linspace(-BOX / 2, BOX / 2, count, device=labels.device)
    places = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)
    matrix = from_atlas.to(labels.device)
    voxel = places @ matrix[:3, :3].T + matrix[:3, 3]
    size = torch.tensor(labels.shape, device=labels.device)
    where = (voxel / (size - 1) * 2 - 1).flip(-1)[None]
    mask = inside[labels.int()].float()[None, None]
    found = F.grid_sample(mask, where, align_corners=True)
    step = BOX / (count - 1)
    for axis in range(3):
        found = _smooth(found, axis, SMOOTHING / step)
    slope = torch.stack(torch.gradient(found[0, 0], spacing=step))[None]
    slope = F.interpolate(slope, size=(GRID,) * 3, mode="trilinear", align_corners=True)
    return -slope / slope.norm(dim=1).max().clamp(min=1e-6)


def moved(displacement: Tensor, wall: Tensor, amount: float, *, mirrored: bool) -> Tensor:
    """Return a displacement followed by that of the ventricles' walls.

    Parameters
    ----------
    displacement : Tensor, shape (1, 3, GRID, GRID, GRID)
        Displacement (mm) on the atlas cube.
    wall : Tensor, same shape
        From :func:`walls`.
    amount : float
        Millimeters inwards; negative for wider ventricles.
    mirrored : bool
        Whether the map is mirrored after the displacement.
    """
    if mirrored:
        wall = wall.flip(2) * wall.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1, 1)
    axis = torch.linspace(-1, 1, GRID, device=wall.device)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    identity = torch.stack([z, y, x], -1)[None]
    where = identity + displacement.permute(0, 2, 3, 4, 1).flip(-1) / (BOX / 2)
    return displacement + amount * F.grid_sample(wall, where, padding_mode="border", align_corners=True)


def _smooth(volume: Tensor, axis: int, deviation: float) -> Tensor:
    """Return a volume (1, 1, X, Y, Z) smoothed along one axis; ``deviation`` in voxels."""
    radius = int(np.ceil(3 * deviation))
    at = torch.arange(-radius, radius + 1, device=volume.device, dtype=volume.dtype)
    kernel = torch.exp(-0.5 * (at / deviation) ** 2)
    shape = [1, 1, 1, 1, 1]
    shape[2 + axis] = len(kernel)
    padding = [0, 0, 0]
    padding[axis] = radius
    return F.conv3d(volume, (kernel / kernel.sum()).view(shape), padding=padding)
