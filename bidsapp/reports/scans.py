"""Volumes for figures: reading, cropping, resampling, and the boxes and gray levels that figures show."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import affine_transform

from ...models.geometry.axes import triple
from ...models.io.images import open_image

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First index, and last index + 1, for each axis."""

MANY = 2_000_000
"""Voxels above which every eighth one gives the percentiles of an image."""


@dataclass(frozen=True)
class Scan:
    """A volume in closest canonical (RAS) orientation.

    Attributes
    ----------
    data : ndarray, shape (X, Y, Z)
        Values.
    affine : ndarray, shape (4, 4)
        Voxel index to mm (RAS).
    """

    data: np.ndarray
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (mm) along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel (mm3)."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    def crop(self, box: Box) -> Scan:
        """Return the part in a box."""
        affine = self.affine.copy()
        affine[:3, 3] = affine[:3, :3] @ [low for low, _ in box] + affine[:3, 3]
        return Scan(self.data[tuple(slice(*ends) for ends in box)], affine)

    def onto(self, shape: tuple[int, ...], affine: np.ndarray, order: int = 1) -> Scan:
        """Return the volume interpolated on another grid.

        Parameters
        ----------
        shape : tuple of int
            Shape of the grid.
        affine : ndarray, shape (4, 4)
            Voxel index to mm (RAS) of the grid.
        order : int
            0 for nearest neighbor, 1 for linear.
        """
        if self.data.shape == tuple(shape) and np.allclose(self.affine, affine, atol=1e-3):
            return self
        matrix = np.linalg.inv(self.affine) @ affine
        data = self.data.astype(np.float32) if order else self.data
        linear = matrix[:3, :3]
        if np.allclose(linear, np.diag(np.diag(linear)), atol=1e-5):
            linear = np.diag(linear)  # faster
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about the meaning of a diagonal in old releases
            out = affine_transform(data, linear, matrix[:3, 3], tuple(shape), order=order)
        return Scan(out, affine)


def read(path: Path, dtype: type | None = None) -> Scan:
    """Read an image in closest canonical (RAS) orientation.

    Parameters
    ----------
    path : Path
        The image.
    dtype : type, optional
        Type of the values; by default float32, or the integer type of the file.

    Returns
    -------
    Scan
        Data and affine.
    """
    image = nib.squeeze_image(open_image(path))
    image = nib.as_closest_canonical(image)
    data = np.asanyarray(image.dataobj)
    if data.dtype.kind == "f" and not np.isfinite(data).all():  # as the conform stage does
        data = np.where(np.isfinite(data), data, np.zeros((), data.dtype))
    return Scan(
        data.astype(dtype or (np.float32 if data.dtype.kind == "f" else data.dtype), copy=False), image.affine
    )


def box_around(mask: np.ndarray, spacing: np.ndarray, margin: float, share: float = 0.0) -> Box:
    """Return the box around a mask.

    Parameters
    ----------
    mask : ndarray, shape (X, Y, Z)
        The mask.
    spacing : ndarray, shape (3,)
        Voxel size (mm).
    margin : float
        Margin (mm).
    share : float
        Planes with at most this share of the fullest plane are left out (specks, the spinal cord).

    Returns
    -------
    Box
        First index, and last index + 1, for each axis.
    """
    ends = []
    for axis, size in enumerate(spacing):
        line = np.count_nonzero(mask, axis=tuple(a for a in range(3) if a != axis))
        inside = (
            np.flatnonzero(line > share * line.max()) if line.any() else np.array([0, mask.shape[axis] - 1])
        )
        pad = round(margin / size)
        ends.append((max(0, int(inside[0]) - pad), min(mask.shape[axis], int(inside[-1]) + pad + 1)))
    return triple(ends)


def widen(box: Box, scan: Scan, margin: float) -> Box:
    """Return a box grown by ``margin`` (mm) within the image."""
    pads = [round(margin / size) for size in scan.spacing]
    ends = zip(box, pads, scan.data.shape, strict=True)
    return triple((max(0, a - pad), min(n, b + pad)) for (a, b), pad, n in ends)


def foreground(data: np.ndarray) -> np.ndarray:
    """Return an approximate mask of the head (or brain) against the background."""
    sample = data[::2, ::2, ::2]
    bright = np.percentile(sample[sample > 0], 98) if (sample > 0).any() else 1.0
    return data > 0.12 * bright


def window(data: np.ndarray, mask: np.ndarray | None = None, headroom: float = 1.05) -> tuple[float, float]:
    """Return the black and white point of a figure.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        The image.
    mask : ndarray, shape (X, Y, Z), optional
        Region of the values; by default all positive values.
    headroom : float
        Factor of the white point over the 99.7th percentile.
    """
    if data.size > MANY:
        data, mask = data[::2, ::2, ::2], None if mask is None else mask[::2, ::2, ::2]
    inside = None if mask is None else mask > 0
    values = data[data > 0 if inside is None or not inside.any() else inside]
    if not values.size:
        return 0.0, 1.0
    low, high = np.percentile(values[:: max(1, values.size // 200_000)], (0.5, 99.7))
    return float(min(low, 0.0)), float(max(high * headroom, low + 1e-6))
