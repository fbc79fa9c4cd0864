"""Symmetric diffeomorphic registration of two label maps by a stationary velocity field.

Both images are brought to a middle space, half way of the affine; there each is moved by half of the
velocity's flow, one forward and one backward (log-demons, Vercauteren et al. 2008, on many channels). What
is matched are smoothed maps of the structures, so that contrast plays no part. Every formula changes its
sign when the images change places: registering B to A gives the inverse of registering A to B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import expm, sqrtm
from torch import Tensor

from ..geometry.volume import Grid, Volume
from .velocity import exponential, gradient, identity, jacobian, sample_some, smooth, taper
from .warp import Warp

ROOM = 6.0
"""Millimetres around both brains within which they are compared; elsewhere there is nothing to see."""


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
    """How the optimisation goes; more coarse steps cost time and bring manual labels no closer.

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
    emphasis : float
        How much more than by default the structures' maps count beside the intensities.
    """

    spacing: float = 2.0
    levels: tuple[Level, ...] = (Level(2, 8, 0.3, 2.5, 1.0), Level(1, 10, 0.3, 1.5, 1.0))
    most: float = 0.8
    margin: float = 10.0
    emphasis: float = 1.0

    def finer(self, spacing: float, emphasis: float, steps: Sequence[int]) -> Options:
        """The same for smaller brains: voxels of ``spacing`` mm, and all smoothing in that proportion.

        Examples
        --------
        >>> Options().finer(1.0, 1.0, [30, 6]).levels[0]
        Level(factor=2, steps=30, blur=0.3, fluid=1.25, elastic=0.5)
        """
        share = spacing / self.spacing
        levels = [
            replace(x, steps=n, fluid=x.fluid * share, elastic=x.elastic * share)
            for x, n in zip(self.levels, steps, strict=True)
        ]
        return replace(self, spacing=spacing, levels=tuple(levels), emphasis=emphasis)


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


def maps(labels: Volume, grid: Grid, matrix: np.ndarray, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Shares of groups of labels in the voxels of ``grid``, and what share lies in the field of view.

    Parameters
    ----------
    labels : Volume of integers
        A segmentation.
    grid : Grid
        Where the shares are wanted.
    matrix : ndarray, shape (4, 4)
        From the grid's mm to the labels'.
    groups : tuple of tuple of int
        The labels of every channel; others count as background.

    Returns
    -------
    Tensor, shape (C + 1, X, Y, Z)
        Means over eight points in each voxel.
    """
    fine = grid.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= grid.affine[:3, :3] @ np.full(3, 0.25)
    x, y, z = (2 * n for n in grid.shape)
    data = labels.data.to(torch.int16)
    found = Warp((matrix,)).resample(labels.with_data(data), Grid((x, y, z), fine), "nearest", -1).data
    size = max(max(max(group) for group in groups), int(data.max())) + 1
    # Background is the channel after the groups; what lies outside of the image comes last.
    table = torch.full((size + 1,), len(groups))
    for channel, group in enumerate(groups):
        table[list(group)] = channel
    table[size] = len(groups) + 1
    out = shares(table[found.long()], len(groups) + 2)
    out[-2] = 1 - out[-1]
    return out[:-1]


def shares(position: Tensor, count: int) -> Tensor:
    """Shares of ``count`` classes in voxels of two points a side.

    Parameters
    ----------
    position : Tensor of int64, shape (2 X, 2 Y, 2 Z)
        Class of every point.

    Returns
    -------
    Tensor, shape (count, X, Y, Z)
        Sums to one.
    """
    x, y, z = (n // 2 for n in position.shape)
    out = torch.zeros(count, x * y * z, device=position.device)
    eighth = out.new_full((1, out.shape[1]), 0.125)
    for i in range(8):
        part = position[i & 1 :: 2, (i >> 1) & 1 :: 2, (i >> 2) & 1 :: 2]
        out.scatter_add_(0, part.reshape(1, -1), eighth)
    return out.view(count, x, y, z)


def optimise(
    moving: Tensor, fixed: Tensor, options: Options, start: Tensor | None = None, scale: int = 1
) -> Tensor:
    """Velocity (voxels of the finest level) that matches two stacks of maps in the middle space.

    Parameters
    ----------
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Maps on the middle grid; the last says what is in the field of view, and only where both images
        show something do they pull.
    options : Options
        Levels and smoothness.
    start : Tensor, shape (3, X / scale, Y / scale, Z / scale), optional
        Velocity to begin from, in its own voxels.
    scale : int
        Voxels of the finest level along a side of the start's.
    """
    velocity = start
    for level in options.levels:
        if not level.steps:
            continue
        a, b = (at_level(m, level) for m in (moving, fixed))
        x, y, z = a.shape[1:]
        velocity, scale = _to_level(velocity, scale, level.factor, (x, y, z)), level.factor
        size = options.spacing * scale
        edge = taper((x, y, z), max(2, round(options.margin / size / 1.5)))
        index, some = identity((x, y, z), a), shown(a, b, round(ROOM / size))
        for _ in range(level.steps):
            update = _force(a, b, velocity, index, some, options.most)
            velocity = velocity + smooth(update, level.fluid / size) * edge
            velocity = smooth(velocity, level.elastic / size)
    return _to_level(velocity, scale, 1, tuple(moving.shape[1:]))  # type: ignore[arg-type]


def shown(a: Tensor, b: Tensor, radius: int) -> Tensor:
    """Flat indices of the voxels within ``radius`` voxels of what one of two stacks shows."""
    there = ((a[:-1] != 0).any(0) | (b[:-1] != 0).any(0)).float()[None]
    for axis in range(3):
        size = [2 * radius + 1 if k == axis else 1 for k in range(3)]
        there = F.max_pool3d(there, size, stride=1, padding=[n // 2 for n in size])
    return there.flatten().nonzero()[:, 0]


def at_level(stack: Tensor, level: Level) -> Tensor:
    """Maps at the resolution of a level; what is in the field of view stays sharp."""
    small = F.avg_pool3d(stack, level.factor) if level.factor > 1 else stack
    return torch.cat([smooth(small[:-1], level.blur), small[-1:]])


def differences(there: Tensor, here: Tensor) -> tuple[Tensor, list[Tensor]]:
    """How two stacks differ where both are in the field of view, and the slopes of their mean."""
    seen = there[-1] * here[-1]
    return (there[:-1] - here[:-1]) * seen, gradient((there[:-1] + here[:-1]) / 2)


def _force(a: Tensor, b: Tensor, velocity: Tensor, index: Tensor, some: Tensor, most: float) -> Tensor:
    """Gauss-Newton step of the squared differences, each voxel by itself, at most ``most`` voxels long."""
    half = velocity / 2
    # A first step of up to a voxel: what that costs in accuracy the next iteration sees and mends.
    squarings = max(1, math.ceil(math.log2(max(float(half.abs().max()), 1e-6))))
    there = sample_some(a, index + exponential(-half, squarings, index, some), some)
    here = sample_some(b, index + exponential(half, squarings, index, some), some)
    difference, slopes = differences(there, here)
    power = sum((s * s).sum(0) for s in slopes)
    noise = (difference * difference).sum(0) / (4 * most**2)
    scale = 1 / (power + noise + 1e-4)
    return torch.stack([(difference * s).sum(0) * scale for s in slopes])


def polish(moving: Tensor, fixed: Tensor, space: Middle, kind: str = "affine") -> np.ndarray:
    """Linear motion (mm, of the middle space) that brings two stacks of maps closer: one Gauss-Newton step.

    Parameters
    ----------
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Maps on the middle grid.
    space : Middle
        The middle space.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.

    Returns
    -------
    ndarray, shape (4, 4)
        From the moving image's side of the middle space to the fixed one's; its logarithm changes sign when
        the images change places.
    """
    difference, slopes = differences(moving, fixed)
    # Far from each other the maps say little of how far: such voxels count less.
    weight = 1 / (1 + (difference * difference).sum(0) / 0.25)
    used = (sum((s * s).sum(0) for s in slopes) * weight) > 1e-3
    slope = torch.stack([s[:, used] for s in slopes])
    root = weight[used].sqrt()
    points = np.argwhere(used.numpy()) @ space.grid.affine[:3, :3].T + space.grid.affine[:3, 3]
    centre = points.mean(0)
    basis = _generators(kind)
    motion = np.einsum("kij,nj->kin", basis, np.c_[(points - centre) / 50, np.ones(len(points))])
    rows = torch.einsum(
        "icn,kin->kcn", slope / float(space.grid.spacing[0]), torch.from_numpy(motion).float()
    )
    rows = (rows * root).flatten(1).double()
    right = (difference[:, used] * root).flatten().double()
    normal = rows @ rows.T
    normal += torch.eye(len(basis), dtype=torch.double) * 1e-6 * normal.diagonal().mean()
    step = torch.linalg.solve(normal, rows @ right).numpy()
    log = np.zeros((4, 4))
    log[:3] = np.einsum("k,kij->ij", step, basis)
    log[:3, :3] /= 50
    log[:3, 3] -= log[:3, :3] @ centre
    return expm(log)


def _generators(kind: str) -> np.ndarray:
    """Velocities of the degrees of freedom, shape (K, 3, 4)."""
    unit = np.eye(12).reshape(12, 3, 4)
    if kind == "affine":
        return unit
    turns = [unit[4 * i + j] - unit[4 * j + i] for i, j in ((0, 1), (0, 2), (1, 2))]
    scale = [unit[0] + unit[5] + unit[10]] if kind == "similarity" else []
    return np.stack([unit[3], unit[7], unit[11], *turns, *scale])


def _to_level(velocity: Tensor | None, old: int, new: int, shape: tuple[int, int, int]) -> Tensor:
    """A velocity at another level: interpolated, its lengths in that level's voxels."""
    if velocity is None:
        return torch.zeros(3, *shape)
    if old == new:
        return velocity
    moved = F.interpolate(velocity[None], size=shape, mode="trilinear", align_corners=False)[0]
    return moved * (old / new)


def folds(displacement: Tensor) -> float:
    """Share of voxels where space folds."""
    return float((jacobian(displacement) <= 0).float().mean())


def warps(flows: tuple[Tensor, Tensor], space: Middle) -> tuple[Warp, Warp]:
    """What resamples moving onto fixed, and fixed onto moving.

    Parameters
    ----------
    flows : tuple of Tensor, shape (3, X, Y, Z)
        Displacements (voxels) of the velocity's flow and of that of its negative.
    space : Middle
        The middle space.
    """
    inverse, forward = (Volume(flow * float(space.grid.spacing[0]), space.grid.affine) for flow in flows)
    return (
        Warp((np.linalg.inv(space.to_fixed), forward, space.to_moving)),
        Warp((np.linalg.inv(space.to_moving), inverse, space.to_fixed)),
    )
