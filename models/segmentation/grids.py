"""Grids on which a brain is computed."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.volume import Grid, Volume, box, lattice, transform_points
from .masks import largest


def half(grid: Grid) -> Grid:
    """Return the grid with voxels of twice the size.

    Parameters
    ----------
    grid : Grid
        The finer grid.

    Returns
    -------
    Grid
        Each voxel consists of 2 x 2 x 2 voxels of ``grid``.
    """
    affine = grid.affine.copy()
    affine[:3, :3] *= 2
    affine[:3, 3] += grid.affine[:3, :3] @ np.array([0.5, 0.5, 0.5])
    x, y, z = grid.shape
    return Grid((x // 2, y // 2, z // 2), affine)


def brain_grid(volume: Volume, distance: Volume, spacing: float, margin: float, stride: int) -> Grid:
    """Return the box of the brain with a margin, on the scan's lattice.

    Parameters
    ----------
    volume : Volume
        The scan.
    distance : Volume, float32
        Coarse signed distance to the brain's surface (mm), positive inside.
    spacing : float
        Voxel size (mm).
    margin : float
        Margin (mm) around the coarse brain.
    stride : int
        Factor of the number of voxels along every axis.
    """
    fine = lattice(volume, spacing)
    near = Volume((distance.data > 0).to(torch.uint8), distance.affine)
    near = near.with_data(torch.from_numpy(largest(near.data.numpy() > 0)).to(torch.uint8))
    start, shape = box(near, margin)
    low = near.affine[:3, :3] @ np.array(start) + near.affine[:3, 3]
    size = np.array(shape) * near.grid.spacing
    first = np.round((low - fine.affine[:3, 3]) / spacing).astype(int)
    count = np.ceil(size / spacing).astype(int)
    count += -count % stride
    affine = fine.affine.copy()
    affine[:3, 3] += first * spacing
    return Grid((int(count[0]), int(count[1]), int(count[2])), affine)


def covering(grid: Grid, mask: Volume, stride: int = 1) -> Grid:
    """Return an upright grid, extended to cover a mask.

    Parameters
    ----------
    grid : Grid
        Upright grid.
    mask : Volume
        Mask, on any grid.
    stride : int
        The extension is a multiple of this number of voxels.

    Returns
    -------
    Grid
        The extended grid.
    """
    start, shape = box(mask, 0.0)
    affine = mask.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(start)
    corners = Grid(shape, affine).corners()
    first = (corners.min(0) - grid.affine[:3, 3]) / grid.spacing
    last = (corners.max(0) - grid.affine[:3, 3]) / grid.spacing
    before = np.ceil(np.maximum(0, -first) / stride - 1e-4).astype(int) * stride
    after = np.ceil(np.maximum(0, last + 1 - np.array(grid.shape)) / stride - 1e-4).astype(int) * stride
    grown = grid.affine.copy()
    grown[:3, 3] -= grid.spacing * before
    x, y, z = (int(n) for n in np.array(grid.shape) + before + after)
    return Grid((x, y, z), grown)


def upright_grid(brain: Volume, spacing: float, margin: float) -> Grid:
    """Return the upright grid around a brain mask, which itself may be oblique.

    Parameters
    ----------
    brain : Volume
        More than 0 in the brain.
    spacing, margin : float
        Voxel size and margin (mm).
    """
    start, shape = box(brain, 0.0)
    affine = brain.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array(start)
    index = np.argwhere(brain.crop(start, shape).data.numpy() > 0)
    points = transform_points(affine, index)
    low, high = points.min(0) - margin, points.max(0) + margin
    count = np.ceil((high - low) / spacing).astype(int) + 1
    out = np.diag([spacing, spacing, spacing, 1.0])
    out[:3, 3] = low
    return Grid((int(count[0]), int(count[1]), int(count[2])), out)
