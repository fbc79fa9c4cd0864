"""Composite transforms between the spaces of two images: matrices and displacement fields, in mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry.axes import triple
from ..geometry.trilinear import sample
from ..geometry.volume import Grid, Volume, antialias
from .velocity import jacobian as determinant

TIE = 1e-3
"""Voxels by which a point between two voxels is nearer to the upper one, above all rounding."""

SLAB = 24
"""Number of planes sampled at once."""


@dataclass(frozen=True)
class Warp:
    """Composite transform of points of a target to a source; resamples the source onto the target.

    Attributes
    ----------
    steps : tuple of (ndarray of shape (4, 4), or Volume of shape (3, X, Y, Z))
        Matrices and displacement fields (mm), applied in this order to points (RAS mm) of the target.
        Fields are interpolated linearly and zero outside their grid.

    Examples
    --------
    >>> shift = np.eye(4); shift[0, 3] = 2.0
    >>> Warp((shift, shift)).points(np.zeros((1, 3))).tolist()
    [[4.0, 0.0, 0.0]]
    """

    steps: tuple[np.ndarray | Volume, ...]

    def points(self, points: np.ndarray) -> np.ndarray:
        """Transform points (mm) of the target, shape (..., 3), to the source."""
        flat = torch.from_numpy(np.asarray(points, np.float64).reshape(-1, 3).T.copy())
        moved = self._follow(flat.view(3, -1, 1, 1), np.eye(4), np.eye(4))
        return moved.view(3, -1).T.numpy().reshape(np.shape(points))

    def resample(self, volume: Volume, grid: Grid, mode: str = "linear", outside: float = 0.0) -> Volume:
        """Resample a volume of the source onto a grid of the target.

        Parameters
        ----------
        volume : Volume
            Values, shape (X, Y, Z) or (C, X, Y, Z).
        grid : Grid
            Grid of the result.
        mode : {'linear', 'cubic', 'nearest', 'label'}
            As in :func:`brainseg.models.geometry.volume.resample`; ``label`` returns the label with the
            largest weight after linear interpolation of every label's map.
        outside : float
            Value outside the volume.

        Returns
        -------
        Volume
            On ``grid``; the input's type for 'nearest' and 'label', else floating point.
        """
        to_voxel = np.linalg.inv(volume.affine)

        def where(first: int, count: int) -> Tensor:
            return self._follow(_lines(grid.shape, first, count), grid.affine, to_voxel)

        return _resampled(volume, grid, (mode, outside), to_voxel @ self.matrix @ grid.affine, where)

    def placed(self, grid: Grid) -> Placed:
        """Return where the voxels of a grid of the target lie, to resample several volumes onto it.

        Parameters
        ----------
        grid : Grid
            Grid of the target.

        Returns
        -------
        Placed
            The places; memory for three numbers a voxel.
        """
        padded = Grid(triple(n + 1 for n in grid.shape), grid.affine)
        where = torch.empty(3, *padded.shape)
        for first in range(0, padded.shape[0], SLAB):
            count = min(SLAB, padded.shape[0] - first)
            where[:, first : first + count] = self._follow(
                _lines(padded.shape, first, count), grid.affine, np.eye(4)
            )
        return Placed(grid, self.matrix, where)

    def jacobian(self, grid: Grid) -> Volume:
        """Compute the volume change from the target to the source at every voxel of ``grid``.

        Values above one mean expansion from target to source; values not above zero mean folding.
        """
        return self.placed(grid).jacobian()

    @property
    def matrix(self) -> np.ndarray:
        """Product of the matrices, without the fields."""
        out = np.eye(4)
        for step in self.steps:
            if isinstance(step, np.ndarray):
                out = step @ out
        return out

    def _follow(self, points: Tensor | list[Tensor], before: np.ndarray, after: np.ndarray) -> Tensor:
        """Transform points by ``before``, all steps and ``after``; adjacent matrices are multiplied first."""
        matrix = before
        for step in self.steps:
            if isinstance(step, Volume):
                index = _apply(np.linalg.inv(step.affine) @ matrix, points)
                points = _apply(matrix, points)
                points += sample(step.data, index.float(), "zeros").to(points)
                matrix = np.eye(4)
            else:
                matrix = step @ matrix
        return _apply(after @ matrix, points)


@dataclass(frozen=True)
class Placed:
    """Where the voxels of a grid of the target lie in the source: the displacements are followed once.

    Attributes
    ----------
    grid : Grid
        Grid of the target.
    matrix : ndarray, shape (4, 4)
        Product of the matrices of the transform.
    where : Tensor, shape (3, X + 1, Y + 1, Z + 1)
        Positions (RAS mm) of the voxels, and of one more along each axis, in the source.
    """

    grid: Grid
    matrix: np.ndarray
    where: Tensor

    def resample(
        self,
        volume: Volume,
        mode: str = "linear",
        outside: float = 0.0,
        window: tuple[slice, slice, slice] | None = None,
    ) -> Volume:
        """Resample a volume of the source onto the grid or a window of it; see :meth:`Warp.resample`."""
        x, y, z = window or tuple(slice(0, n) for n in self.grid.shape)
        affine = self.grid.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [x.start, y.start, z.start]
        part = Grid(triple(s.stop - s.start for s in (x, y, z)), affine)
        to_voxel = np.linalg.inv(volume.affine)

        def where(first: int, count: int) -> Tensor:
            return _apply(to_voxel, self.where[:, x.start + first : x.start + first + count, y, z])

        return _resampled(volume, part, (mode, outside), to_voxel @ self.matrix @ affine, where)

    def jacobian(self) -> Volume:
        """Compute the volume change from target to source at every voxel; see :meth:`Warp.jacobian`."""
        out, to_voxel = torch.empty(self.grid.shape), np.linalg.inv(self.grid.affine)
        for first in range(0, self.grid.shape[0], SLAB):
            count = min(SLAB, self.grid.shape[0] - first)
            index = _apply(to_voxel, self.where[:, first : first + count + 1])
            for axis, line in enumerate(_lines(triple(self.where.shape[1:]), first, count + 1)):
                index[axis] -= line.float()
            out[first : first + count] = determinant(index)
        return Volume(out, self.grid.affine)


def _resampled(
    volume: Volume,
    grid: Grid,
    how: tuple[str, float],
    step: np.ndarray,
    where: Callable[[int, int], Tensor],
) -> Volume:
    """Resample a volume onto a grid.

    ``how`` is the mode and the value outside, ``step`` the affine from voxels of the grid to those of the
    volume, and ``where`` returns the voxel indices (3, count, Y, Z) of some planes of the grid.
    """
    mode, outside = how
    data = (volume.data if volume.data.ndim == 4 else volume.data[None]).contiguous()
    if mode not in ("nearest", "label"):
        data = data if data.is_floating_point() else data.float()
        # One by one: convolutions of several channels round differently with the number of threads.
        rows = [channel[None] for channel in data]
        blurred = [antialias(row, step) for row in rows]
        if any(one is not row for one, row in zip(blurred, rows, strict=True)):
            data = torch.cat(blurred)
        del rows, blurred
    if mode == "cubic":
        data = _spline(data)
    even = [_even(channel) for channel in data] if mode == "label" else []
    out = torch.empty(len(data), *grid.shape, dtype=data.dtype)
    for first in range(0, grid.shape[0], SLAB):
        count = min(SLAB, grid.shape[0] - first)
        out[:, first : first + count] = _interpolate(data, where(first, count), mode, outside, even)
    if mode == "cubic":
        for channel, values in zip(out, volume.data.view(-1, *volume.grid.shape), strict=True):
            channel.clamp_(min(float(values.min()), outside), max(float(values.max()), outside))
    return Volume(out if volume.data.ndim == 4 else out[0], grid.affine)


def _lines(shape: tuple[int, int, int], first: int, count: int) -> list[Tensor]:
    """Return voxel indices of some planes along each axis, in shapes that broadcast, float64."""
    lines = [torch.arange(n, dtype=torch.float64) for n in (count, *shape[1:])]
    lines[0] += first
    return [line.view([-1 if k == axis else 1 for k in range(3)]) for axis, line in enumerate(lines)]


def _apply(matrix: np.ndarray, points: Tensor | list[Tensor]) -> Tensor:
    """Apply a 4x4 matrix to points (3, X, Y, Z), or to the lines of a grid, which are rounded to float32."""
    x, y, z = points
    # Not a matrix product: its rounding depends on the number of threads.
    rows = np.asarray(matrix)[:3].tolist()
    if isinstance(points, Tensor):
        out = torch.empty_like(points)
        for row, (a, b, c, d) in zip(out, rows, strict=True):
            torch.mul(x, a, out=row).add_(y, alpha=b).add_(z, alpha=c).add_(d)
        return out
    out = torch.empty(3, *(max(line.shape[k] for line in points) for k in range(3)))
    for row, (a, b, c, d) in zip(out, rows, strict=True):
        torch.add(a * x + b * y, c * z + d, out=row)
    return out


def _interpolate(data: Tensor, where: Tensor, mode: str, outside: float, even: list[Tensor]) -> Tensor:
    if mode == "linear":
        return sample(data - outside if outside else data, where.float(), "zeros") + outside
    if mode == "cubic":
        at = where.numpy().reshape(3, -1)
        rows = [
            ndimage.map_coordinates(channel.numpy(), at, order=3, cval=outside, prefilter=False)
            for channel in data
        ]
        return torch.from_numpy(np.stack(rows)).to(data).view(len(data), *where.shape[1:])
    if mode == "label":
        flat = where.flatten(1)
        rows = [_label(channel, same, flat, outside) for channel, same in zip(data, even, strict=True)]
        return torch.stack(rows).view(len(data), *where.shape[1:])
    index = (where + TIE).round().long()
    inside = torch.ones(where.shape[1:], dtype=torch.bool)
    for k, n in enumerate(data.shape[1:]):
        inside &= (index[k] >= 0) & (index[k] < n)
        index[k].clamp_(0, n - 1)
    values = data.flatten(1)[:, _flat(data, index)]
    return torch.where(inside, values, torch.full((), outside, dtype=data.dtype))


def _flat(data: Tensor, index: Sequence[Tensor] | Tensor) -> Tensor:
    """Return indices into the flat voxels of data (..., X, Y, Z) for one index tensor per axis."""
    x, y, z = index
    return (x * data.shape[-2] + y) * data.shape[-1] + z


def _even(data: Tensor) -> Tensor:
    """Return whether each voxel and its seven upper neighbors have the same label."""
    one = data[:-1, :-1, :-1]
    out = torch.ones(one.shape, dtype=torch.bool)
    for corner in range(1, 8):
        i, j, k = (corner >> axis & 1 for axis in range(3))
        out &= data[i:, j:, k:][: one.shape[0], : one.shape[1], : one.shape[2]] == one
    return out


def _label(data: Tensor, even: Tensor, where: Tensor, outside: float) -> Tensor:
    """Return the label of the largest weight at points (3, N), by linear interpolation of labels' maps."""
    if not even.numel():
        return _voted(data, where, outside)
    low = where.floor().long()
    last = torch.tensor(data.shape)[:, None] - 2
    x, y, z = torch.minimum(low.clamp(min=0), last)
    out = data.flatten()[_flat(data, (x, y, z))]
    beyond = ((low < -1) | (low > last + 1)).any(0)
    out[beyond] = outside
    within = ((low >= 0) & (low <= last)).all(0)
    mixed = (~(within & even[x, y, z] | beyond)).nonzero()[:, 0]
    out[mixed] = _voted(data, where[:, mixed], outside)
    return out


def _voted(data: Tensor, where: Tensor, outside: float) -> Tensor:
    low = where.floor()
    share = (where - low).float()
    found, weight = [], []
    for corner in range(8):
        index, inside = [], torch.ones(where.shape[1], dtype=torch.bool)
        part = torch.ones(where.shape[1])
        for k, n in enumerate(data.shape):
            step = corner >> k & 1
            place = low[k].long() + step
            inside &= (place >= 0) & (place < n)
            index.append(place.clamp_(0, n - 1))
            part = part * (share[k] if step else 1 - share[k])
        value = data.flatten()[_flat(data, index)]
        found.append(torch.where(inside, value, torch.full((), outside, dtype=data.dtype)))
        weight.append(part)
    values, weights = torch.stack(found), torch.stack(weight)
    best, most = values[0].clone(), torch.zeros(where.shape[1])
    for one in values:
        votes = (weights * (values == one)).sum(0)
        more = votes > most
        best[more], most = one[more], torch.maximum(most, votes)
    return best


def _spline(data: Tensor) -> Tensor:
    """Return the coefficients of cubic B-splines."""
    rows = [ndimage.spline_filter(channel.numpy(), 3, output=np.float32, mode="mirror") for channel in data]
    return torch.from_numpy(np.stack(rows))
