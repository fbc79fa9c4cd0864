"""Images as FreeSurfer has them: its conformed grid, its intensities and its file format (MGZ).

Sources: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat and the conventions of
``mri_convert --conform``: 256 voxels of 1 mm along every axis, in the order left, inferior, anterior, and the
center of the image at voxel (128, 128, 128).
"""

from __future__ import annotations

import gzip

import nibabel as nib
import numpy as np
import torch

from ..deformation.warp import Warp
from ..geometry.volume import Grid, Volume, box, resample, transform_points

SIZE = 256
"""Voxels (mm) along every axis of the conformed grid."""

AXES = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""Directions of its axes: left, inferior, anterior."""

WHITE = 110.0
"""Mean intensity of white matter in ``T1.mgz``."""

TOP = 0.999
"""Share of the voxels with signal below the intensity that becomes 255 in ``orig.mgz``."""


def conformed_grid(grid: Grid, mask: Volume) -> tuple[Grid, bool]:
    """Return the conformed grid of an image.

    Parameters
    ----------
    grid : Grid
        Grid of the image.
    mask : Volume
        Brain mask.

    Returns
    -------
    grid : Grid, shape (256, 256, 256)
        In LIA order, centered on the image, or on the brain if it would not fit.
    moved : bool
        Whether it is centered on the brain.
    """
    center = transform_points(grid.affine, np.asarray(grid.shape, float) / 2)
    ends = _brain(mask)
    moved = bool(np.abs(ends - center).max() > SIZE / 2 - 1)
    if moved:
        center = np.round((ends.min(0) + ends.max(0)) / 2)
    affine = np.eye(4)
    affine[:3, :3] = AXES
    affine[:3, 3] = center - AXES @ np.full(3, SIZE / 2)
    return Grid((SIZE,) * 3, affine), moved


def _brain(mask: Volume) -> np.ndarray:
    """Return the corners (mm) of the box of a mask, of the whole image if it is empty."""
    if not bool((mask.data > 0).any()):
        return mask.grid.corners()
    start, shape = box(mask, 0.0)
    return Grid(shape, mask.crop(start, shape).affine).corners()


def image(volume: Volume, grid: Grid) -> np.ndarray:
    """Return an image on the conformed grid, by cubic interpolation.

    Parameters
    ----------
    volume : Volume
        Image.
    grid : Grid
        Conformed grid.

    Returns
    -------
    ndarray, float32
        Values, zero outside of the image.
    """
    return resample(volume, grid, "cubic").data.float().numpy()


def labels(volume: Volume, grid: Grid) -> np.ndarray:
    """Return labels on the conformed grid: the label with the largest weight after linear interpolation.

    Parameters
    ----------
    volume : Volume of integers
        Labels.
    grid : Grid
        Conformed grid.

    Returns
    -------
    ndarray, int32
        Labels.
    """
    out = torch.zeros(grid.shape, dtype=torch.int32)
    if not bool((volume.data > 0).any()):
        return out.numpy()
    corners = transform_points(np.linalg.inv(grid.affine), _brain(volume))
    low = np.clip(np.floor(corners.min(0)).astype(int) - 1, 0, SIZE)
    high = np.clip(np.ceil(corners.max(0)).astype(int) + 2, 0, SIZE)
    affine = grid.affine.copy()
    affine[:3, 3] = transform_points(grid.affine, low.astype(float))
    x, y, z = (int(n) for n in high - low)
    found = Warp((np.eye(4),)).resample(volume, Grid((x, y, z), affine), "label")
    out[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] = found.data.to(torch.int32)
    return out.numpy()


def as_bytes(values: np.ndarray) -> np.ndarray:
    """Return intensities from 0 to 255, as ``mri_convert --conform`` scales them (``orig.mgz``).

    Examples
    --------
    >>> as_bytes(np.array([-5.0, 0.0, 20.0, 100.0]))
    array([  0,   0,  51, 255], dtype=uint8)
    """
    signal = values[values > 0]
    top = float(np.quantile(signal, TOP, method="higher")) if signal.size else 1.0
    return np.rint(np.clip(values * (255 / top), 0, 255)).astype(np.uint8)


def normalized(values: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return intensities with white matter at 110 (``T1.mgz``).

    Parameters
    ----------
    values : ndarray
        Intensities, corrected for bias.
    white : ndarray of bool
        White matter.

    Returns
    -------
    ndarray, uint8
        Intensities; scaled by the largest one if there is no white matter.
    """
    level = float(values[white].mean()) if white.any() else 0.0
    return as_bytes(values) if level <= 0 else np.rint(np.clip(values * (WHITE / level), 0, 255)).astype("u1")


def packed(values: np.ndarray, grid: Grid) -> bytes:
    """Return the content of an MGZ file: the same bytes for the same values.

    Parameters
    ----------
    values : ndarray, uint8 or int32
        Values on the grid.
    grid : Grid
        Conformed grid.
    """
    return gzip.compress(nib.MGHImage(values, grid.affine).to_bytes(), 1, mtime=0)
