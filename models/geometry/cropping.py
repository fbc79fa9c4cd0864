"""Crops of one size: padding taken off, zeros put around, finer voxels, all by moving the affine along."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F

from .volume import Grid, Volume


def bare(volume: Volume) -> Volume:
    """Take off the planes at the edges that hold one and the same value (padding).

    Examples
    --------
    >>> import numpy as np, torch
    >>> padded = torch.zeros(6, 6, 6)
    >>> padded[2:5, 1:4, 2:4] = torch.arange(18.0).view(3, 3, 2) + 1
    >>> found = bare(Volume(padded, np.eye(4)))
    >>> tuple(found.data.shape), found.affine[:3, 3].tolist()
    ((3, 3, 2), [2.0, 1.0, 2.0])
    """
    data, start, shape = volume.data, [], []
    for axis in range(3):
        rows = data.movedim(axis, 0).flatten(1)
        edge = rows[0, 0], rows[-1, 0]
        filled = [(rows != value).any(1).nonzero()[:, 0] for value in edge]
        if not len(filled[0]):
            return volume  # one value throughout: nothing says what is padding
        low, high = int(filled[0][0]), int(filled[1][-1]) + 1
        start.append(low)
        shape.append(high - low)
    return volume.crop((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))


def framed(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """The middle of a volume in a box of ``shape``, zeros around where it is smaller.

    Examples
    --------
    >>> import numpy as np, torch
    >>> found = framed(Volume(torch.ones(2, 2, 5), np.eye(4)), (4, 4, 3))
    >>> int(found.data.sum()), found.affine[:3, 3].tolist()
    (12, [-1.0, -1.0, 1.0])
    """
    start = [(have - want) // 2 for have, want in zip(volume.grid.shape, shape, strict=True)]
    return volume.crop((start[0], start[1], start[2]), shape)


def centred(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """A grid of another shape about the same middle.

    Examples
    --------
    >>> import numpy as np
    >>> centred(Grid((4, 4, 4), np.eye(4)), (5, 4, 8)).affine[:3, 3].tolist()
    [-0.5, 0.0, -2.0]
    """
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ ((np.array(grid.shape) - np.array(shape)) / 2)
    return Grid(tuple(shape), affine)


def doubled(volume: Volume) -> Volume:
    """The same with voxels of half the size, by cubic convolution; the centres of the outer voxels stay.

    What linear interpolation then finds in it stays sharp: between two voxels of the volume itself it would
    take their mean.

    Examples
    --------
    >>> import torch
    >>> found = doubled(Volume(torch.tensor([0.0, 0, 1, 1]).view(4, 1, 1), np.eye(4)))
    >>> [round(float(v), 2) for v in found.data.flatten()]
    [0.0, -0.09, 0.0, 0.5, 1.0, 1.09, 1.0]
    >>> found.grid.spacing.tolist()
    [0.5, 0.5, 0.5]
    """
    x, y, z = volume.grid.shape
    size = 2 * x - 1, 2 * y - 1, 2 * z - 1
    data = volume.data.reshape(-1, x, y, z)
    wide = F.interpolate(data, size=size[1:], mode="bicubic", align_corners=True)
    flat = wide.reshape(len(data), 1, x, -1)
    deep = F.interpolate(flat, size=(size[0], flat.shape[-1]), mode="bicubic", align_corners=True)
    affine = volume.affine.copy()
    affine[:3, :3] /= 2
    return Volume(deep.reshape(*volume.data.shape[:-3], *size), affine)
