"""Brains for registration: an ellipsoid of tissue with balls as structures, anywhere and in any contrast."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from brainseg.models.geometry.volume import Grid, Volume, transform_points
from brainseg.models.registration import reference
from brainseg.models.registration.reference import anatomy
from brainseg.models.registration.result import Anatomy

BALLS = {
    10: (-12, -18, 8), 49: (12, -18, 8), 11: (-14, 14, 12), 50: (14, 14, 12), 12: (-26, 4, 2),
    51: (26, 4, 2), 17: (-27, -20, -14), 53: (27, -20, -14), 18: (-22, -2, -20), 54: (22, -2, -20),
    4: (-12, 0, 22), 43: (12, 0, 22), 16: (0, -30, -34), 8: (-22, -52, -34), 47: (22, -52, -34),
    15: (0, -46, -24),
}  # fmt: skip
"""Centers (mm) of the balls by FreeSurfer id."""

CONTRAST = {"T1w": (0.0, 0.6, 1.0, 0.25), "T2w": (0.0, 0.7, 0.45, 1.0)}
"""Intensities of background, gray matter, white matter and fluid."""


def brain(
    place: np.ndarray | None = None,
    bend: float = 0.0,
    contrast: str = "T1w",
    spacing: float = 3.0,
    shape: tuple[int, int, int] = (54, 66, 54),
    axes: np.ndarray | None = None,
) -> Anatomy:
    """A brain.

    Parameters
    ----------
    place : ndarray, shape (4, 4)
        From the brain's own mm to the image's.
    bend : float
        Amplitude (mm) of a smooth deformation in the brain's own space.
    contrast : {'T1w', 'T2w'}
        Intensities.
    spacing, shape : float, tuple of int
        The grid.
    axes : ndarray, shape (3, 3), optional
        Directions of the array's axes.
    """
    place = np.eye(4) if place is None else place
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if axes is None else axes) * spacing
    affine[:3, 3] = place[:3, 3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    grid = Grid(shape, affine)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    own = bent(transform_points(np.linalg.inv(place) @ affine, index.astype(float)), bend)
    radius = np.sqrt(((own / [62, 80, 58]) ** 2).sum(-1))
    labels = np.zeros(shape, np.int16)
    left = own[..., 0] < 0
    labels[radius < 1] = np.where(left, 3, 42)[radius < 1]
    ripple = 0.82 + 0.05 * np.sin(own[..., 0] / 9) * np.sin(own[..., 1] / 8) * np.cos(own[..., 2] / 10)
    inner = radius < ripple
    labels[inner] = np.where(left, 2, 41)[inner]
    for number, center in BALLS.items():
        labels[(np.linalg.norm(own - center, axis=-1) < 9.5) & (radius < 0.98)] = number
    fluid, white = np.isin(labels, (4, 43, 15)), np.isin(labels, (2, 41))
    kind = np.where(labels == 0, 0, np.where(fluid, 3, np.where(white, 2, 1)))
    image = torch.from_numpy(np.array(CONTRAST[contrast], np.float32)[kind] * 1000)
    maps = {n: torch.from_numpy((kind == k).astype(np.float32)) for k, n in enumerate(("GM", "WM", "CSF"), 1)}
    return anatomy(
        Volume(image, grid.affine),
        Volume(torch.from_numpy((labels > 0).astype(np.uint8)), grid.affine),
        Volume(torch.from_numpy(labels), grid.affine),
        {name: Volume(values, grid.affine) for name, values in maps.items()},
    )


def of_template(place: np.ndarray, bend: float = 0.0, spacing: float = 3.0) -> Anatomy:
    """The template's brain, moved and bent: unlike a brain of balls, it looks the same from one side only.

    Parameters
    ----------
    place : ndarray, shape (4, 4)
        From the template's mm to the image's.
    bend : float
        Amplitude (mm) of a smooth deformation in the template's space.
    spacing : float
        Voxel size (mm).
    """
    whole = reference.load("MNI152NLin2009cAsym")
    shape = tuple(int(n) for n in np.array(whole.image.grid.shape) / spacing)
    affine = place @ whole.image.affine @ np.diag([spacing, spacing, spacing, 1])
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    own = bent(transform_points(np.linalg.inv(place) @ affine, index.astype(float)), bend)
    voxels = np.moveaxis(transform_points(np.linalg.inv(whole.image.affine), own), -1, 0)
    image, mask, structures = (
        Volume(torch.from_numpy(map_coordinates(one.data.numpy(), voxels, order=order)), affine)
        for one, order in ((whole.image, 1), (whole.mask, 0), (whole.structures, 0))
    )
    return anatomy(image, mask, structures, {})


def bent(points: np.ndarray, amplitude: float) -> np.ndarray:
    """Points after a smooth deformation."""
    x, y, z = np.moveaxis(points, -1, 0)
    shift = [np.sin(y / 22) * np.cos(z / 30), np.cos(x / 25), np.sin(x / 24 + 1) * np.cos(y / 28)]
    return points + amplitude * np.stack(shift, -1)


def dice(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean Dice of the structures that are balls in a brain of balls."""
    scores = [
        2 * float(((one == k) & (other == k)).sum()) / max(1, int((one == k).sum() + (other == k).sum()))
        for k in BALLS
    ]
    return float(np.mean(scores))
