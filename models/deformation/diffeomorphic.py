"""Symmetric diffeomorphic registration of two label maps by a stationary velocity field.

The affine is split in halves that map both images to a middle space. Half of the velocity's flow then deforms
one image forward, and half the other one backward (log-demons, Vercauteren et al. 2008, on many channels).
The features are smoothed maps of the structures, independent of contrast. All formulas are antisymmetric in
the images: the registration of B to A is the inverse of that of A to B.
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

from ..geometry import sums
from ..geometry.axes import extent, triple
from ..geometry.volume import Grid, Volume
from .velocity import exponential, gradient, identity, jacobian, sample_at, smooth, taper
from .warp import Warp

BRAIN_MARGIN = 6.0
"""Margin (mm) around both brains within which the images are compared."""

MOST = 0.9
"""Share of the voxels above which all are compared: to choose some takes as long as to compute the others."""


@dataclass(frozen=True)
class Level:
    """One resolution of the optimization.

    Attributes
    ----------
    factor : int
        Voxel size relative to the finest level.
    steps : int
        Iterations.
    blur : float
        Gaussian (voxels of this level) on the feature maps.
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
    """Options of the optimization.

    Attributes
    ----------
    spacing : float
        Voxel size (mm) of the finest level.
    levels : tuple of Level
        Coarse to fine.
    most : float
        Longest update (voxels) of one iteration.
    margin : float
        Margin (mm) around both brains, over which the velocity falls to zero.
    emphasis : float
        Weight of the structures' maps relative to the intensities, 1 by default.

    Notes
    -----
    More steps at the coarse level cost time and do not improve the overlap of manual labels.
    """

    spacing: float = 2.0
    levels: tuple[Level, ...] = (Level(2, 8, 0.3, 2.5, 1.0), Level(1, 10, 0.3, 1.5, 1.0))
    most: float = 0.8
    margin: float = 10.0
    emphasis: float = 1.0

    def finer(self, spacing: float, emphasis: float, steps: Sequence[int]) -> Options:
        """Return options for smaller brains: voxels of ``spacing`` mm, with the smoothing in proportion.

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
    """The middle space of two images.

    Attributes
    ----------
    grid : Grid
        Upright grid around both brains.
    to_moving, to_fixed : ndarray, shape (4, 4)
        Matrices from its mm to those of the images.
    """

    grid: Grid
    to_moving: np.ndarray
    to_fixed: np.ndarray


def middle(
    matrix: np.ndarray, moving: Volume, fixed: Volume, spacing: float, margin: float, multiple: int
) -> Middle:
    """Return the middle space of two images.

    Parameters
    ----------
    matrix : ndarray, shape (4, 4)
        Affine from moving mm to fixed mm.
    moving, fixed : Volume
        Labels.
    spacing, margin : float
        Voxel size and margin around both brains (mm).
    multiple : int
        Every side is a multiple of it.
    """
    half = half_affine(matrix)
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


def half_affine(matrix: np.ndarray) -> np.ndarray:
    """Return the square root of an affine, or the affine if it has none (a rotation near 180 degrees).

    Examples
    --------
    >>> turn = np.diag([4.0, 1.0, 1.0, 1.0])
    >>> half_affine(turn)[0, 0].round(6)
    np.float64(2.0)
    """
    if (np.linalg.eigvals(matrix[:3, :3]).real > -0.5).all() and np.linalg.det(matrix[:3, :3]) > 0:
        root = np.real_if_close(sqrtm(matrix), tol=1e6)
        if np.isrealobj(root) and np.allclose(root @ root, matrix, atol=1e-6):
            return root
    return matrix


def _extent(labels: Volume) -> np.ndarray:
    """Return the corners (mm) of the box around the labels."""
    ends = extent((labels.data > 0).cpu().numpy())
    if ends is None:
        raise ValueError("there are no labels")
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
    return corners @ labels.affine[:3, :3].T + labels.affine[:3, 3]


def maps(labels: Volume, grid: Grid, matrix: np.ndarray, groups: tuple[tuple[int, ...], ...]) -> Tensor:
    """Compute the shares of groups of labels in the voxels of a grid, and that of the field of view.

    Parameters
    ----------
    labels : Volume of integers
        A segmentation.
    grid : Grid
        Grid of the result.
    matrix : ndarray, shape (4, 4)
        From the grid's mm to those of the labels.
    groups : tuple of tuple of int
        Labels of every channel; others are background.

    Returns
    -------
    Tensor, shape (C + 1, X, Y, Z)
        Means over eight points in each voxel; the field of view is last.
    """
    fine = grid.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    fine[:3, 3] -= grid.affine[:3, :3] @ np.full(3, 0.25)
    x, y, z = (2 * n for n in grid.shape)
    data = labels.data.to(torch.int16)
    found = Warp((matrix,)).resample(labels.with_data(data), Grid((x, y, z), fine), "nearest", -1).data
    size = max(max(max(group) for group in groups), int(data.max())) + 1
    # The channel after the groups is the background; the last one is the outside of the image.
    table = torch.full((size + 1,), len(groups))
    for channel, group in enumerate(groups):
        table[list(group)] = channel
    table[size] = len(groups) + 1
    out = shares(table[found.long()], len(groups) + 2)
    out[-2] = 1 - out[-1]
    return out[:-1]


def shares(position: Tensor, count: int) -> Tensor:
    """Compute the shares of classes in voxels of 2 x 2 x 2 points.

    Parameters
    ----------
    position : Tensor of int64, shape (2 X, 2 Y, 2 Z)
        Class of every point.
    count : int
        Number of classes.

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


def optimize(
    moving: Tensor, fixed: Tensor, options: Options, start: Tensor | None = None, scale: int = 1
) -> Tensor:
    """Compute the velocity that matches the feature maps of two images in the middle space.

    Parameters
    ----------
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Feature maps on the middle grid; the last is the field of view. Only voxels in both fields of view
        count.
    options : Options
        Levels and smoothness.
    start : Tensor, shape (3, X / scale, Y / scale, Z / scale), optional
        Initial velocity, in its own voxels.
    scale : int
        Voxel size of ``start`` relative to the finest level.

    Returns
    -------
    Tensor, shape (3, X, Y, Z)
        Velocity (voxels of the finest level).
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
        index, some = identity((x, y, z), a), foreground(a, b, round(BRAIN_MARGIN / size))
        for _ in range(level.steps):
            update = _force(a, b, velocity, index, some, options.most)
            velocity = velocity + smooth(update, level.fluid / size) * edge
            velocity = smooth(velocity, level.elastic / size)
    return _to_level(velocity, scale, 1, triple(moving.shape[1:]))


def foreground(a: Tensor, b: Tensor, radius: int) -> Tensor | None:
    """Return flat indices of the voxels within ``radius`` voxels of the foreground of ``a`` or ``b``.

    None stands for all, if they are nearly all.
    """
    there = ((a[:-1] != 0).any(0) | (b[:-1] != 0).any(0)).float()[None]
    for axis in range(3):
        size = [2 * radius + 1 if k == axis else 1 for k in range(3)]
        there = F.max_pool3d(there, size, stride=1, padding=[n // 2 for n in size])
    found = there.flatten().nonzero()[:, 0]
    return None if len(found) > MOST * there.numel() else found


def at_level(maps: Tensor, level: Level) -> Tensor:
    """Return feature maps (C, X, Y, Z) at the resolution of a level; the field of view is not smoothed."""
    small = F.avg_pool3d(maps, level.factor) if level.factor > 1 else maps
    return torch.cat([smooth(small[:-1], level.blur), small[-1:]])


def differences(there: Tensor, here: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the differences of feature maps in the common field of view, and the gradient of their mean."""
    visible = there[-1] * here[-1]
    return (there[:-1] - here[:-1]) * visible, gradient((there[:-1] + here[:-1]) / 2)


def _force(a: Tensor, b: Tensor, velocity: Tensor, index: Tensor, some: Tensor | None, most: float) -> Tensor:
    """Return the voxelwise Gauss-Newton step of the squared differences, at most ``most`` voxels long."""
    half = velocity / 2
    # A first step of up to a voxel: the next iteration corrects its error.
    squarings = max(1, math.ceil(math.log2(max(float(half.abs().max()), 1e-6))))
    there = sample_at(a, index + exponential(-half, squarings, index, some), some)
    here = sample_at(b, index + exponential(half, squarings, index, some), some)
    difference, slopes = differences(there, here)
    power = sum((s * s).sum(0) for s in slopes)
    noise = (difference * difference).sum(0) / (4 * most**2)
    scale = 1 / (power + noise + 1e-4)
    return torch.stack([(difference * s).sum(0) * scale for s in slopes])


def refine_linear(moving: Tensor, fixed: Tensor, space: Middle, kind: str = "affine") -> np.ndarray:
    """Improve the linear alignment of two images by one Gauss-Newton step.

    Parameters
    ----------
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Feature maps on the middle grid.
    space : Middle
        The middle space.
    kind : {'affine', 'similarity', 'rigid'}
        Degrees of freedom.

    Returns
    -------
    ndarray, shape (4, 4)
        From the moving image to the fixed one, in mm of the middle space. Its logarithm is antisymmetric in
        the images.
    """
    difference, slopes = differences(moving, fixed)
    # Large differences are little informative of the distance: such voxels have less weight.
    weight = 1 / (1 + (difference * difference).sum(0) / 0.25)
    used = (sum((s * s).sum(0) for s in slopes) * weight) > 1e-3
    slope = torch.stack([s[:, used] for s in slopes])
    root = weight[used].sqrt()
    points = np.argwhere(used.numpy()) @ space.grid.affine[:3, :3].T + space.grid.affine[:3, 3]
    center = points.mean(0)
    basis = _generators(kind)
    place = torch.from_numpy(np.c_[(points - center) / 50, np.ones(len(points))]).float()
    slope = slope * (root / float(space.grid.spacing[0]))
    # Every degree of freedom is a sum of products of one slope and one coordinate.
    products = (slope[:, None] * place.T[None, :, None]).flatten(0, 1).flatten(1)
    rows = (torch.from_numpy(basis).float().flatten(1) @ products if kind != "affine" else products).double()
    right = (difference[:, used] * root).flatten().double()
    normal = sums.product(rows, rows.T)
    normal += torch.eye(len(basis), dtype=torch.double) * 1e-6 * normal.diagonal().mean()
    step = torch.linalg.solve(normal, sums.product(rows, right)).numpy()
    log = np.zeros((4, 4))
    log[:3] = np.einsum("k,kij->ij", step, basis)
    log[:3, :3] /= 50
    log[:3, 3] -= log[:3, :3] @ center
    return expm(log)


def _generators(kind: str) -> np.ndarray:
    """Return the velocities of the degrees of freedom, shape (K, 3, 4)."""
    basis = np.eye(12).reshape(12, 3, 4)
    if kind == "affine":
        return basis
    turns = [basis[4 * i + j] - basis[4 * j + i] for i, j in ((0, 1), (0, 2), (1, 2))]
    scale = [basis[0] + basis[5] + basis[10]] if kind == "similarity" else []
    return np.stack([basis[3], basis[7], basis[11], *turns, *scale])


def _to_level(velocity: Tensor | None, old: int, new: int, shape: tuple[int, int, int]) -> Tensor:
    """Return the velocity at another level, in voxels of that level."""
    if velocity is None:
        return torch.zeros(3, *shape)
    if old == new:
        return velocity
    moved = F.interpolate(velocity[None], size=shape, mode="trilinear", align_corners=False)[0]
    return moved * (old / new)


def folds(displacement: Tensor) -> float:
    """Compute the share of folded voxels of a displacement (voxels), shape (3, X, Y, Z)."""
    return float((jacobian(displacement) <= 0).float().mean())


def warps(flows: tuple[Tensor, Tensor], space: Middle) -> tuple[Warp, Warp]:
    """Return the warps that resample moving onto fixed, and fixed onto moving.

    Parameters
    ----------
    flows : tuple of Tensor, shape (3, X, Y, Z)
        Displacements (voxels) of the flows of the velocity and of its negative.
    space : Middle
        The middle space.
    """
    inverse, forward = (Volume(flow * float(space.grid.spacing[0]), space.grid.affine) for flow in flows)
    return (
        Warp((np.linalg.inv(space.to_fixed), forward, space.to_moving)),
        Warp((np.linalg.inv(space.to_moving), inverse, space.to_fixed)),
    )
