"""Displacements as the Learn2Reg challenge exchanges them: ``disp_FIXED_MOVING.npz``, float16, in voxels.

The only array of the file has the shape (3, X, Y, Z) of the fixed image, or of every second voxel; its
channels go along the array's axes, from a voxel of the fixed image to where it lies in the moving one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ..deformation.warp import Warp
from ..errors import InputError
from ..geometry.volume import Grid, Volume
from . import atomic


def positions(warp: Warp, fixed: Grid, moving: Grid) -> np.ndarray:
    """Where the voxels of the fixed image lie in the moving one (voxels), shape (3, X, Y, Z).

    Examples
    --------
    >>> grid = Grid((2, 2, 2), np.eye(4))
    >>> shift = np.eye(4); shift[1, 3] = 0.5
    >>> positions(Warp((shift,)), grid, grid)[:, 1, 1, 1].tolist()
    [1.0, 1.5, 1.0]
    """
    index = np.indices(fixed.shape).reshape(3, -1).T
    points = warp.points(index @ fixed.affine[:3, :3].T + fixed.affine[:3, 3])
    back = np.linalg.inv(moving.affine)
    return (points @ back[:3, :3].T + back[:3, 3]).T.reshape(3, *fixed.shape)


def write(path: Path, warp: Warp, fixed: Grid, moving: Grid, *, every: int = 1) -> None:
    """Write a warp for a submission.

    Parameters
    ----------
    path : Path
        The file, ``.npz``.
    warp : Warp
        What resamples the moving image onto the fixed one.
    fixed, moving : Grid
        Those of the images.
    every : int
        Keep every so many voxels: 2 gives half the resolution, as some of the challenge's tasks want it.
    """
    found = positions(warp, fixed, moving) - np.indices(fixed.shape)
    with atomic.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, found[:, ::every, ::every, ::every].astype(np.float16))


def read(path: Path, fixed: Grid, moving: Grid) -> Warp:
    """The warp of a submission.

    Raises
    ------
    InputError
        If the file is none, or belongs to an image of another size.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = np.asarray(arrays[arrays.files[0]], np.float32)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(path, f"it is no submission to Learn2Reg ({error})", "Give a .npz or .h5") from None
    ratio = [n / m for n, m in zip(fixed.shape, found.shape[1:], strict=False)]
    if found.ndim != 4 or len(found) != 3 or not all(round(r) in (1, 2) for r in ratio):
        raise InputError(
            path, f"its shape {found.shape} does not fit the fixed image's {fixed.shape}", "Check the pair"
        )
    if found.shape[1:] != fixed.shape:
        step = [1 / round(r) for r in ratio]
        found = np.stack(
            [
                ndimage.affine_transform(channel, np.diag(step), 0.0, fixed.shape, order=1, mode="nearest")
                for channel in found
            ]
        )
    field = np.einsum("ij,jxyz->ixyz", fixed.affine[:3, :3], found).astype(np.float32)
    return Warp((Volume(torch.from_numpy(field), fixed.affine), moving.affine @ np.linalg.inv(fixed.affine)))
