"""Volumes (a tensor and an affine), their grids, and resampling.

Orientation is RAS throughout: x to the right, y to the front, z up. Affines map voxel indices to mm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from .axes import extent, triple
from .orientation import closest_axes, is_turn, to_canonical, turned
from .smoothing import weighted
from .trilinear import sample


@dataclass(frozen=True)
class Grid:
    """Positions of voxels in space.

    Attributes
    ----------
    shape : tuple of int
        Voxels along each axis.
    affine : ndarray, shape (4, 4)
        Voxel index to mm (RAS).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (mm) along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel (mm3)."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    def corners(self) -> np.ndarray:
        """Return the centers (mm) of the eight outermost voxels, shape (8, 3)."""
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1).T
        return ends @ self.affine[:3, :3].T + self.affine[:3, 3]


@dataclass(frozen=True)
class Volume:
    """An image on a grid.

    Attributes
    ----------
    data : Tensor, shape (X, Y, Z) or (C, X, Y, Z)
        Values.
    affine : ndarray, shape (4, 4)
        Voxel index to mm (RAS).
    """

    data: Tensor
    affine: np.ndarray

    @property
    def grid(self) -> Grid:
        """Grid of the voxels."""
        x, y, z = self.data.shape[-3:]
        return Grid((x, y, z), self.affine)

    def with_data(self, data: Tensor) -> Volume:
        """Return a volume of other values on the same grid."""
        return Volume(data, self.affine)

    def canonical(self) -> Volume:
        """Flip and permute axes to RAS order, without interpolation.

        Examples
        --------
        >>> flipped = Volume(torch.arange(8.).view(2, 2, 2), np.diag([-1., 1, 1, 1]))
        >>> flipped.canonical().data[0, 0, 0].item()
        4.0
        """
        axes, signs = closest_axes(self.affine)
        order = np.argsort(axes)
        lead = self.data.ndim - 3
        data = self.data.permute(*range(lead), *[lead + int(i) for i in order])
        flips = [lead + k for k, i in enumerate(order) if signs[i] < 0]
        data = data.flip(flips).contiguous() if flips else data.contiguous()
        return Volume(data, self.affine @ to_canonical(axes, signs, self.grid.shape))

    def crop(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Volume:
        """Return the box of ``shape`` from voxel ``start``, zero outside the volume."""
        lead = self.data.shape[:-3]
        out = torch.zeros(*lead, *shape, dtype=self.data.dtype, device=self.data.device)
        source, target = [slice(None)] * len(lead), [slice(None)] * len(lead)
        for s, n, size in zip(start, shape, self.grid.shape, strict=True):
            low, high = max(s, 0), min(s + n, size)
            source.append(slice(low, max(high, low)))
            target.append(slice(low - s, max(high, low) - s))
        out[tuple(target)] = self.data[tuple(source)]
        affine = self.affine.copy()
        affine[:3, 3] = self.affine[:3, :3] @ np.asarray(start, float) + self.affine[:3, 3]
        return Volume(out, affine)


def lattice(volume: Volume | Grid, spacing: float, stride: int = 1) -> Grid:
    """Return the upright grid of ``spacing`` mm that covers a volume, on a lattice fixed in space.

    Padded, reoriented or resampled copies of an image get the same lattice, so that results do not depend on
    the storage of the image. Along axes with voxels of that size, the lattice goes through their centers, and
    values are not interpolated.

    Parameters
    ----------
    volume : Volume or Grid
        Volume to cover.
    spacing : float
        Voxel size (mm).
    stride : int
        Every side is a multiple of it.
    """
    grid = volume.grid if isinstance(volume, Volume) else volume
    corners = grid.corners()
    half = np.abs(grid.affine[:3, :3]).sum(1) / 2
    low, high = corners.min(0) - half, corners.max(0) + half
    offset = np.zeros(3)
    upright = np.abs(grid.affine[:3, :3])
    for axis in range(3):
        row = upright[axis]
        if np.isclose(row.max(), spacing, atol=1e-3) and np.isclose(row.sum(), row.max(), atol=1e-3):
            offset[axis] = grid.affine[axis, 3] % spacing
    start = np.floor((low + spacing / 2 - offset) / spacing + 1e-4) * spacing + offset
    count = np.maximum(np.ceil((high - spacing / 2 - start) / spacing - 1e-4).astype(int) + 1, 1)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = start
    return Grid(triple(int(-(-n // stride) * stride) for n in count), affine)


def box(mask: Volume, margin: float, stride: int = 1) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return start and shape of the box around ``mask`` with a margin (mm), sides a multiple of ``stride``.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    ends = extent((mask.data > 0).cpu().numpy())
    if ends is None:
        raise ValueError("the mask is empty")
    start, shape = [], []
    for (first, last), size in zip(ends, mask.grid.spacing, strict=True):
        pad = math.ceil(margin / size)
        low, high = first - pad, last + pad + 1
        extra = -(high - low) % stride
        start.append(low - extra // 2)
        shape.append(high - low + extra)
    return triple(start), triple(shape)


def resample(volume: Volume, grid: Grid, mode: str = "linear", outside: float = 0.0) -> Volume:
    """Interpolate a volume on another grid.

    Parameters
    ----------
    volume : Volume
        Values, shape (X, Y, Z) or (C, X, Y, Z).
    grid : Grid
        Grid of the result.
    mode : {'linear', 'cubic', 'nearest'}
        Interpolation. Linear and cubic interpolation average first when voxels become larger; cubic
        (B-splines) blurs less and stays within the range of the values.
    outside : float
        Value outside the volume.

    Returns
    -------
    Volume
        On ``grid``; the input's type for 'nearest', else floating point.

    Examples
    --------
    >>> v = Volume(torch.arange(4.).view(4, 1, 1), np.eye(4))
    >>> shifted = np.eye(4); shifted[0, 3] = 0.5
    >>> resample(v, Grid((3, 1, 1), shifted)).data.flatten().round(decimals=4).tolist()
    [0.5, 1.5, 2.5]
    """
    matrix = np.linalg.inv(volume.affine) @ grid.affine
    whole = np.round(matrix).astype(int)
    if np.allclose(matrix, whole, atol=1e-4) and is_turn(whole[:3, :3]) and outside == 0.0:
        same = volume.data if mode == "nearest" else _floating(volume.data)
        return Volume(turned(same, whole[:3, :3], whole[:3, 3], grid.shape), grid.affine)
    data = volume.data if volume.data.ndim == 4 else volume.data[None]
    if mode == "nearest":
        out = _nearest(data, matrix, grid.shape, outside)
    elif mode == "linear" and (axes := _matched_axes(matrix, data.shape[1:])):
        out = _separable(_floating(data), matrix, axes, grid.shape, outside)
    else:
        data = antialias(_floating(data), matrix)
        out = (_cubic if mode == "cubic" else _linear)(data, matrix, grid.shape, outside)
    return Volume(out if volume.data.ndim == 4 else out[0], grid.affine)


def normalize(image: Tensor, low: float = 0.005, high: float = 0.995) -> Tensor:
    """Scale intensities to [0, 1] between percentiles, robust to padding and to a few bright voxels.

    The upper percentile is that of the foreground: voxels above 5 % of the range.
    """
    flat = image.reshape(-1)
    flat = flat[:: max(1, flat.numel() // 200_000)].float()
    bottom, top = torch.quantile(flat, torch.tensor([low, 0.999], device=flat.device)).tolist()
    if top <= bottom:
        # A small object in a large empty field.
        top = float(image.max())
    foreground = flat[flat > bottom + 0.05 * (top - bottom)]
    if foreground.numel() > 50:
        top = float(torch.quantile(foreground, high))
    if not top > bottom:
        return torch.zeros_like(image, dtype=torch.float32)
    return ((image - bottom) / (top - bottom)).clamp(0, 1)


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply a 4x4 matrix to points of shape (..., 3)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def coordinate_channels(grid: Grid, matrix: np.ndarray, scale: float, device=None) -> Tensor:
    """Return the coordinates of voxels after ``matrix`` (mm to mm), over ``scale``, shape (3, X, Y, Z)."""
    total = torch.from_numpy((matrix @ grid.affine) / np.array([scale, scale, scale, 1])[:, None]).float()
    x, y, z = (
        torch.arange(n, dtype=torch.float32).view([-1 if a == k else 1 for a in range(3)])
        for k, n in enumerate(grid.shape)
    )
    rows = [total[i, 0] * x + total[i, 1] * y + total[i, 2] * z + total[i, 3] for i in range(3)]
    return torch.stack(rows).to(device or "cpu")


def _floating(data: Tensor) -> Tensor:
    return data if data.is_floating_point() else data.float()


def antialias(data: Tensor, matrix: np.ndarray) -> Tensor:
    """Blur data (C, X, Y, Z) along axes with coarser sampling by ``matrix`` (new to old voxel indices)."""
    step = np.abs(matrix[:3, :3]).max(1)
    for axis, ratio in enumerate(step):
        kernel = _averaging(ratio)
        if len(kernel) < 2 or data.shape[axis + 1] < 2:
            continue
        data = weighted(data, axis + 1, torch.from_numpy(kernel).to(data), replicate=True)
    return data


def _averaging(ratio: float) -> np.ndarray:
    """Return the weights of the blur for voxels ``ratio`` times as wide; a single 1 if not wider."""
    if ratio < 1.2:
        return np.ones(1)
    # Half the extent of the wider voxel: the blur of averaging over it.
    sigma = 0.42 * math.sqrt(ratio**2 - 1)
    radius = max(1, math.ceil(2.5 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return kernel / kernel.sum()


def _matched_axes(matrix: np.ndarray, sizes: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return the parallel old axis of each axis of the new grid; None if the grids are not parallel."""
    large = np.abs(matrix[:3, :3]) * np.array(sizes)[:, None] > 1e-2
    if not (large.sum(0) == 1).all() or not (large.sum(1) == 1).all():
        return None
    return triple(int(i) for i in large.argmax(0))


def _separable(
    data: Tensor, matrix: np.ndarray, axes: tuple[int, int, int], shape: tuple[int, int, int], outside: float
) -> Tensor:
    """Interpolate linearly between parallel grids: one matrix per old axis, with the blur.

    The matrices are applied in the order of the memory, to the part of the data that they use.
    """
    weights, used = [torch.empty(0)] * 3, [slice(None)] * 3
    for k, axis in enumerate(axes):
        weight = _line(shape[k], matrix[axis, k], matrix[axis, 3], data.shape[1 + axis])
        some = np.flatnonzero(weight.any(0))
        used[axis] = slice(int(some[0]), int(some[-1]) + 1) if some.size else slice(0, 1)
        weights[axis] = torch.from_numpy(weight[:, used[axis]]).to(data)
    out = torch.empty(data.shape[0], *shape, dtype=data.dtype, device=data.device)
    for channel, values in zip(out, data, strict=True):
        part = values[tuple(used)]
        moved = torch.matmul(part - outside if outside else part, weights[2].T)
        swapped = axes == (0, 2, 1)
        moved = moved.mT @ weights[1].T if swapped else weights[1] @ moved
        if swapped or axes == (0, 1, 2):
            torch.mm(weights[0], moved.flatten(1), out=channel.view(len(channel), -1))
            continue
        moved = (weights[0] @ moved.flatten(1)).view(-1, *moved.shape[1:])
        channel.copy_(moved.permute(axes))
    return out.add_(outside) if outside else out


def _line(count: int, step: float, start: float, size: int) -> np.ndarray:
    """Return the matrix (count, size) for blur and interpolation along an axis, 0 outside."""
    if size == 1:
        return np.ones((count, 1))
    kernel, known = _averaging(abs(step)), np.arange(size)
    place = step * np.arange(count) + start
    between = np.clip(1 - np.abs(place[:, None] - known[None]), 0, None)
    if len(kernel) == 1:
        return between
    near = enumerate(kernel, -(len(kernel) // 2))
    return between @ sum(weight * np.eye(size)[np.clip(known + k, 0, size - 1)] for k, weight in near)


def _linear(data: Tensor, matrix: np.ndarray, shape: tuple[int, int, int], outside: float) -> Tensor:
    """Interpolate trilinearly, slab by slab to keep the sampling grid small."""
    total = torch.from_numpy(matrix[:3]).float().to(data.device)
    lead = data - outside if outside else data
    out = torch.empty(data.shape[0], *shape, dtype=data.dtype, device=data.device)
    y = torch.arange(shape[1], device=data.device).view(1, -1, 1)
    z = torch.arange(shape[2], device=data.device).view(1, 1, -1)
    for first in range(0, shape[0], 16):
        x = torch.arange(first, min(first + 16, shape[0]), device=data.device).view(-1, 1, 1)
        where = torch.stack([r[0] * x + r[1] * y + r[2] * z + r[3] for r in total])
        out[:, first : first + 16] = sample(lead, where, "zeros")
    return out + outside if outside else out


def _cubic(data: Tensor, matrix: np.ndarray, shape: tuple[int, int, int], outside: float) -> Tensor:
    """Interpolate by cubic B-splines, clipped to the range of the values."""
    out = torch.empty(data.shape[0], *shape, dtype=data.dtype)
    for channel, values in zip(out, data, strict=True):
        found = ndimage.affine_transform(
            values.cpu().numpy(), matrix[:3, :3], matrix[:3, 3], shape, order=3, cval=outside
        )
        low, high = min(float(values.min()), outside), max(float(values.max()), outside)
        channel.copy_(torch.from_numpy(found).clamp(low, high))
    return out.to(data.device)


def _nearest(data: Tensor, matrix: np.ndarray, shape: tuple[int, int, int], outside: float) -> Tensor:
    """Interpolate by nearest neighbor; the type stays."""
    total = torch.from_numpy(matrix[:3]).to(data.device)
    out = torch.full((data.shape[0], *shape), outside, dtype=data.dtype, device=data.device)
    y = torch.arange(shape[1], device=data.device).view(1, -1, 1)
    z = torch.arange(shape[2], device=data.device).view(1, 1, -1)
    for first in range(0, shape[0], 16):
        x = torch.arange(first, min(first + 16, shape[0]), device=data.device).view(-1, 1, 1)
        inside = torch.ones((), dtype=torch.bool, device=data.device)
        index = []
        for row, n in zip(total, data.shape[1:], strict=True):
            i = (row[0] * x + row[1] * y + row[2] * z + row[3] + 1e-6).round().long()
            inside = inside & (i >= 0) & (i < n)
            index.append(i.clamp(0, n - 1))
        values = data[:, index[0], index[1], index[2]]
        out[:, first : first + 16] = torch.where(inside, values, out[:, first : first + 16])
    return out
