"""Rigid alignment of images of one head, whatever their contrasts, and the average of several.

Two scans of a session differ by how the head moved between them, so six degrees of freedom suffice. They
are found by the mutual information of the intensities (Mattes et al. 2003, in ITK), which asks nothing of
the contrasts; a template halfway between repeated scans follows Reuter et al. (2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from scipy import linalg, ndimage

from ..geometry.volume import Grid, Volume, lattice, normalize, resample, transform_points

LEVELS = (4.0, 2.0)
"""Voxel sizes (mm) at which the alignment is sought, one after the other."""

AROUND = 12.0
"""Margin (mm) about the brain that takes part: skull and scalp move with it, jaw and neck do not."""

BINS = 32
ROUNDS = 2
"""Times that the images are aligned to their average."""


@dataclass(frozen=True)
class Coregistration:
    """A rigid alignment.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        Points (RAS mm) of the moving image to points of the fixed one.
    information : float
        Mutual information (nats) of the two after alignment.
    """

    matrix: np.ndarray
    information: float

    @property
    def degrees(self) -> float:
        """Angle of the rotation."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.matrix[:3, :3]) - 1) / 2, -1, 1))))

    def shift(self, point: np.ndarray) -> float:
        """How far (mm) it moves a point."""
        return float(np.linalg.norm(transform_points(self.matrix, point) - point))


def rigid(
    moving: Volume, fixed: Volume, mask: Volume | None = None, *, levels: tuple[float, ...] = LEVELS
) -> Coregistration:
    """Align an image of the same head.

    Parameters
    ----------
    moving, fixed : Volume
        Two scans; neither needs to be stripped or corrected.
    mask : Volume, optional
        The brain in ``fixed``; by default all that is bright takes part.
    levels : tuple of float
        Voxel sizes (mm), coarse to fine.

    Returns
    -------
    Coregistration
        From ``moving`` to ``fixed``. The best of two searches: one from where the headers say that the
        images lie, one from their centres of mass laid over each other.
    """
    centre = _centre(fixed, mask)
    lifted = np.eye(4)
    lifted[:3, 3] = _centre(moving, None) - _centre(fixed, None)
    found = [_search(moving, fixed, mask, start, centre, levels[0]) for start in (np.eye(4), lifted)]
    best, information = min(found, key=lambda pair: pair[1])
    for spacing in levels[1:]:
        best, information = _search(moving, fixed, mask, best, centre, spacing)
    return Coregistration(np.linalg.inv(best), -information)


def _centre(volume: Volume, mask: Volume | None) -> np.ndarray:
    """Centre of mass (mm) of a mask, or of what is bright."""
    if mask is not None and bool((mask.data > 0).any()):
        weight, affine = (mask.data > 0).numpy(), mask.affine
    else:
        small = resample(volume.canonical(), lattice(volume, LEVELS[0]))
        weight, affine = (normalize(small.data) > 0.15).numpy(), small.affine
    if not weight.any():
        return transform_points(affine, (np.array(weight.shape) - 1) / 2)
    return transform_points(affine, np.array(ndimage.center_of_mass(weight)))


def _search(
    moving: Volume, fixed: Volume, mask: Volume | None, start: np.ndarray, centre: np.ndarray, spacing: float
) -> tuple[np.ndarray, float]:
    """Best matrix (fixed mm to moving mm) from a start at one voxel size, and ITK's metric there."""
    import SimpleITK as sitk

    still, other = _image(fixed, spacing), _image(moving, spacing)
    method = sitk.ImageRegistrationMethod()
    # One thread: sums over threads depend on their number in the last digits.
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    if mask is not None and bool((mask.data > 0).any()):
        method.SetMetricFixedMask(_around(mask, fixed, spacing))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=spacing, minStep=spacing / 400, numberOfIterations=120, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    transform = _euler(start, centre)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(still, other)
    return _matrix(transform), float(method.GetMetricValue())


def _image(volume: Volume, spacing: float):
    """An ITK image (LPS) of a volume on an upright lattice, its intensities between 0 and 1."""
    small = resample(volume.canonical(), lattice(volume, spacing))
    return _to_itk(normalize(small.data).numpy(), small.affine)


def _around(mask: Volume, fixed: Volume, spacing: float):
    """The brain with a margin, on the lattice of the fixed image."""
    grid = lattice(fixed, spacing)
    near = resample(mask.with_data((mask.data > 0).float()), grid).data.numpy() > 0.5
    reach = ndimage.distance_transform_edt(~near, grid.spacing) < AROUND
    return _to_itk(reach.astype(np.uint8), grid.affine)


def _to_itk(data: np.ndarray, affine: np.ndarray):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    flip = np.array([-1.0, -1.0, 1.0])
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((flip * affine[:3, 3]).tolist())
    image.SetDirection((flip[:, None] * affine[:3, :3] / spacing).ravel().tolist())
    return image


FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def _euler(matrix: np.ndarray, centre: np.ndarray):
    """ITK's transform for a rigid matrix (RAS) that turns about a point."""
    import SimpleITK as sitk

    lps = FLIP @ matrix @ FLIP
    about = FLIP[:3, :3] @ centre
    transform = sitk.Euler3DTransform()
    transform.SetCenter(about.tolist())
    transform.SetMatrix(lps[:3, :3].ravel().tolist(), 1e-5)
    transform.SetTranslation((lps[:3, :3] @ about + lps[:3, 3] - about).tolist())
    return transform


def _matrix(transform) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = np.array(transform.GetMatrix()).reshape(3, 3)
    out[:3, 3] = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    return FLIP @ out @ FLIP


def apply(moving: Volume, matrix: np.ndarray, grid: Grid) -> Volume:
    """A volume on the grid of the image that it was aligned to, by cubic splines."""
    return resample(Volume(moving.data.float(), matrix @ moving.affine), grid, mode="cubic")


def average(volumes: list[Volume], *, levels: tuple[float, ...] = LEVELS) -> tuple[Volume, list[np.ndarray]]:
    """The average of scans of one head in a space that none of them is nearer to than the others.

    Parameters
    ----------
    volumes : list of Volume
        Scans of one contrast.
    levels : tuple of float
        Voxel sizes (mm) at which they are aligned, coarse to fine.

    Returns
    -------
    mean : Volume, float32
        Their mean (median from three on) at the smallest voxel size among them.
    matrices : list of ndarray, shape (4, 4)
        Points (RAS mm) of every scan to those of the mean.
    """
    first = volumes[0]
    matrices = [np.eye(4), *(rigid(volume, first, levels=levels).matrix for volume in volumes[1:])]
    matrices = [halfway(matrices) @ matrix for matrix in matrices]
    spacing = float(min(volume.grid.spacing.min() for volume in volumes))
    mean = _mean(volumes, matrices, spacing)
    for _ in range(ROUNDS - 1):
        found = [rigid(v, mean, levels=levels[-1:]).matrix for v in volumes]
        matrices = [halfway(found) @ matrix for matrix in found]
        mean = _mean(volumes, matrices, spacing)
    return mean, matrices


def halfway(matrices: list[np.ndarray]) -> np.ndarray:
    """What takes the common target of rigid matrices to the middle of their sources.

    Examples
    --------
    >>> there = np.eye(4); there[0, 3] = 4.0
    >>> halfway([np.eye(4), there])[0, 3].round(6).item()
    -2.0
    """
    mean = reduce(np.add, (np.real(linalg.logm(matrix)) for matrix in matrices)) / len(matrices)
    return np.real(linalg.expm(-mean))


def _mean(volumes: list[Volume], matrices: list[np.ndarray], spacing: float) -> Volume:
    moved = [Volume(v.data, m @ v.affine) for v, m in zip(volumes, matrices, strict=True)]
    grid = lattice(moved[0], spacing)
    stack = [resample(volume, grid, mode="cubic").data for volume in moved]
    levels = [float(torch.quantile(d[d > d.mean()].flatten()[::7], 0.5)) for d in stack]
    scaled = torch.stack([d * (levels[0] / level) for d, level in zip(stack, levels, strict=True)])
    return Volume(scaled.median(0).values if len(stack) > 2 else scaled.mean(0), grid.affine)
