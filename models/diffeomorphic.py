"""Symmetric diffeomorphic registration of two label maps by a stationary velocity field.

Both images are brought to a middle space, half way of the affine; there each is moved by half of the
velocity's flow, one forward and one backward (log-demons, Vercauteren et al. 2008, on many channels). What
is matched are smoothed maps of the structures, so that contrast plays no part. Every formula changes its
sign when the images change places: registering B to A gives the inverse of registering A to B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .velocity import exponential, gradient, identity, jacobian, sample, smooth, taper
from .volume import Grid, Volume
from .warp import Warp


@dataclass(frozen=True)
class Level:
    """One resolution of the optimisation.

    Attributes
    ----------
    factor : int
        Voxels of the finest level along a side of this one's.
    steps : int
        Iterations.
    blur : float
        Gaussian (voxels of this level) on the maps.
    fluid : float
        Gaussian (mm) on every update.
    elastic : float
        Gaussian (mm) on the velocity after every update.
    """

    factor: int
    steps: int
    blur: float
    fluid: float
    elastic: float


@dataclass(frozen=True)
class Options:
    """How the optimisation goes; the defaults were chosen on label maps of heads.

    Attributes
    ----------
    spacing : float
        Voxel size (mm) of the finest level.
    levels : tuple of Level
        Coarse to fine.
    most : float
        Longest update (voxels) of one iteration.
    margin : float
        Room (mm) around both brains, over which the velocity falls to zero.
    """

    spacing: float = 2.0
    levels: tuple[Level, ...] = (Level(2, 25, 0.7, 8.0, 3.0), Level(1, 12, 0.7, 4.0, 2.0))
    most: float = 0.8
    margin: float = 14.0


@dataclass(frozen=True)
class Middle:
    """The space between two images and how each lies in it.

    Attributes
    ----------
    grid : Grid
        Upright grid that holds both brains.
    to_moving, to_fixed : ndarray, shape (4, 4)
        From its mm to those of the images.
    """

    grid: Grid
    to_moving: np.ndarray
    to_fixed: np.ndarray


def middle(
    matrix: np.ndarray, moving: Volume, fixed: Volume, spacing: float, margin: float, multiple: int
) -> Middle:
    """The middle space of an affine ``matrix`` (moving mm to fixed mm) and the labels of two images."""
    half = half_way(matrix)
    to_moving, to_fixed = np.linalg.inv(half), np.linalg.solve(half.T, matrix.T).T
    corners = np.concatenate(
        [
            _extent(volume) @ np.linalg.inv(place)[:3, :3].T + np.linalg.inv(place)[:3, 3]
            for volume, place in ((moving, to_moving), (fixed, to_fixed))
        ]
    )
    low, high = corners.min(0) - margin, corners.max(0) + margin
    count = (np.ceil((high - low) / spacing / multiple).astype(int) * multiple).tolist()
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (low + high) / 2 - (np.array(count) - 1) * spacing / 2
    return Middle(Grid(tuple(count), affine), to_moving, to_fixed)


def half_way(matrix: np.ndarray) -> np.ndarray:
    """Square root of an affine; of one that turns too far, its halves differ: all of it and none.

    Examples
    --------
    >>> turn = np.diag([4.0, 1.0, 1.0, 1.0])
    >>> half_way(turn)[0, 0].round(6)
    np.float64(2.0)
    """
    from scipy.linalg import sqrtm

    if (np.linalg.eigvals(matrix[:3, :3]).real > -0.5).all() and np.linalg.det(matrix[:3, :3]) > 0:
        root = np.real_if_close(sqrtm(matrix), tol=1e6)
        if np.isrealobj(root) and np.allclose(root @ root, matrix, atol=1e-6):
            return root
    return matrix


def _extent(labels: Volume) -> np.ndarray:
    """Corners (mm) of the box around what is labelled."""
    inside = labels.data > 0
    ends = []
    for axis in range(3):
        line = inside.any(dim=tuple(a for a in range(3) if a != axis)).nonzero()[:, 0]
        ends.append((float(line[0]), float(line[-1])))
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
    return corners @ labels.affine[:3, :3].T + labels.affine[:3, 3]


def maps(labels: Volume, grid: Grid, matrix: np.ndarray, ids: list[list[int]]) -> Tensor:
    """Shares of label groups in the voxels of ``grid``.

    Parameters
    ----------
    labels : Volume of integers
        A segmentation.
    grid : Grid
        Where the shares are wanted.
    matrix : ndarray, shape (4, 4)
        From the grid's mm to the labels'.
    ids : list of list of int
        The labels of every channel.

    Returns
    -------
    Tensor, shape (C, X, Y, Z)
        Means over eight points in each voxel.
    """
    fine = grid.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= grid.affine[:3, :3] @ np.full(3, 0.25)
    shape = tuple(2 * n for n in grid.shape)
    placed = Volume(labels.data, np.linalg.inv(matrix) @ labels.affine)
    found = Warp(()).resample(placed, Grid(shape, fine), "nearest").data  # type: ignore[arg-type]
    table = torch.full((int(max(max(g) for g in ids)) + 1,), len(ids))
    for channel, group in enumerate(ids):
        table[group] = channel
    position = table[found.long().clamp(max=len(table) - 1).where(found < len(table), 0)]
    out = torch.zeros(len(ids) + 1, position.numel() // 8)
    eighth = torch.full((1, out.shape[1]), 0.125)
    for x in (0, 1):
        for y in (0, 1):
            for z in (0, 1):
                out.scatter_add_(0, position[x::2, y::2, z::2].reshape(1, -1), eighth)
    return out[:-1].view(len(ids), *grid.shape)


def optimise(moving: Tensor, fixed: Tensor, options: Options, start: Tensor | None = None) -> Tensor:
    """Velocity (voxels of the finest level) that matches two stacks of maps in the middle space.

    Parameters
    ----------
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Maps on the middle grid.
    options : Options
        Levels and smoothness.
    start : Tensor, shape (3, X, Y, Z), optional
        Velocity to begin from.
    """
    velocity, scale = start, 1
    for level in options.levels:
        if not level.steps:
            continue
        a, b = (smooth(F.avg_pool3d(m, level.factor), level.blur) for m in (moving, fixed))
        velocity = _to_level(velocity, scale, level.factor, a)
        scale = level.factor
        size = options.spacing * level.factor
        edge = taper(tuple(a.shape[1:]), max(2, round(options.margin / size / 1.5)))  # type: ignore[arg-type]
        index = identity(tuple(a.shape[1:]), a)  # type: ignore[arg-type]
        for _ in range(level.steps):
            update = _force(a, b, velocity, index, options.most)
            velocity = velocity + smooth(update, level.fluid / size) * edge
            velocity = smooth(velocity, level.elastic / size)
    return _to_level(velocity, scale, 1, moving)


def _force(a: Tensor, b: Tensor, velocity: Tensor, index: Tensor, most: float) -> Tensor:
    """Gauss-Newton step of the squared differences, each voxel by itself, at most ``most`` voxels long."""
    half = velocity / 2
    squarings = max(1, int(np.ceil(np.log2(max(float(half.abs().max()), 1e-6) * 2))))
    there = sample(a, index + exponential(-half, squarings, index))
    here = sample(b, index + exponential(half, squarings, index))
    difference = there - here
    slopes = gradient((there + here) / 2)
    power = sum((s * s).sum(0) for s in slopes)
    noise = (difference * difference).sum(0) / (4 * most**2)
    scale = 1 / (power + noise + 1e-4)
    return torch.stack([(difference * s).sum(0) * scale for s in slopes])


def _to_level(velocity: Tensor | None, old: int, new: int, like: Tensor) -> Tensor:
    """A velocity at another level: interpolated, its lengths in that level's voxels."""
    shape = tuple(like.shape[1:])
    if velocity is None:
        return torch.zeros(3, *shape)
    if old == new:
        return velocity
    moved = F.interpolate(velocity[None], size=shape, mode="trilinear", align_corners=False)[0]
    return moved * (old / new)


def folds(displacement: Tensor) -> float:
    """Share of voxels where space folds."""
    return float((jacobian(displacement) <= 0).float().mean())


def warps(velocity: Tensor, space: Middle) -> tuple[Warp, Warp]:
    """What resamples moving onto fixed, and fixed onto moving."""
    forward, inverse = (
        Volume(exponential(v) * float(space.grid.spacing[0]), space.grid.affine)
        for v in (-velocity, velocity)
    )
    return (
        Warp((np.linalg.inv(space.to_fixed), forward, space.to_moving)),
        Warp((np.linalg.inv(space.to_moving), inverse, space.to_fixed)),
    )
