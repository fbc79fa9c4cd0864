"""Rigid alignment of images of one head, of any contrasts, and the average of several images.

Two scans of a session differ by the motion of the head between them: six degrees of freedom. They are found
by the mutual information of the intensities (Maes et al. 1997), for any pair of contrasts, and by Powell's
method; a template halfway between repeated scans follows Reuter et al. (2012). The result is the same on any
number of threads, unlike that of ITK's registration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from scipy import linalg, ndimage, optimize
from scipy.spatial.transform import Rotation

from ..geometry.volume import Grid, Volume, lattice, normalize, resample, transform_points

LEVELS = (4.0, 2.0)
"""Voxel sizes (mm) of the alignment, coarse to fine."""

MARGIN = 12.0
"""Margin (mm) around the brain that takes part: skull and scalp move with it, jaw and neck do not."""

BINS = 32
"""Bins of the intensities of each image."""

POINTS = 25_000
"""Approximate number of points at which the images are compared."""

LEAST_OVERLAP = 0.25
"""Smallest share of the points inside both fields of view."""

RADIUS = 50.0
"""Distance (mm) from the center of the brain at which a rotation moves as far as a shift of the same size."""

FIRST = 4.0
"""First step (mm) of the search along every degree of freedom."""

TOLERANCE = 0.01
"""Accuracy of the search, in voxels."""

SEEN = 0.99
"""Share of a voxel in the field of view of an image above which the image counts there."""

ROUNDS = 2
"""Number of alignments to the average."""


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
        """Return the angle (degrees) of the rotation."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.matrix[:3, :3]) - 1) / 2, -1, 1))))

    def shift(self, point: np.ndarray) -> float:
        """Return the displacement (mm) of a point.

        Parameters
        ----------
        point : ndarray, shape (3,)
            Point (RAS mm) of the moving image.

        Returns
        -------
        float
            Distance (mm) between the point and its image.
        """
        return float(np.linalg.norm(transform_points(self.matrix, point) - point))


def rigid(
    moving: Volume, fixed: Volume, mask: Volume | None = None, *, levels: tuple[float, ...] = LEVELS
) -> Coregistration:
    """Align an image to another one of the same head by six degrees of freedom.

    Parameters
    ----------
    moving, fixed : Volume, shape (X, Y, Z)
        Two scans; neither needs to be skull-stripped or bias-corrected.
    mask : Volume, optional
        Brain in ``fixed``; by default the whole field of view counts.
    levels : tuple of float
        Voxel sizes (mm), coarse to fine.

    Returns
    -------
    Coregistration
        From ``moving`` to ``fixed``. The better of two searches: one from the positions in the headers, one
        from coinciding centers of mass.
    """
    center = _center(fixed, mask)
    lifted = np.eye(4)
    lifted[:3, 3] = _center(moving, None) - _center(fixed, None)
    pair = _Pair(moving, fixed, mask, center, levels[0])
    found = [pair.search(start, levels[0] * TOLERANCE) for start in (np.eye(4), lifted)]
    best, information = max(found, key=lambda one: one[1])
    for spacing in levels[1:]:
        pair = _Pair(moving, fixed, mask, center, spacing)
        best, information = pair.search(best, spacing * TOLERANCE)
    return Coregistration(np.linalg.inv(best), information)


def _center(volume: Volume, mask: Volume | None) -> np.ndarray:
    """Return the center of mass (RAS mm) of a mask, or of the bright voxels."""
    if mask is not None and bool((mask.data > 0).any()):
        weight, affine = (mask.data > 0).numpy(), mask.affine
    else:
        small = _scaled(volume, LEVELS[0])
        weight, affine = (small.data > 0.15).numpy(), small.affine
    if not weight.any():
        return transform_points(affine, (np.array(weight.shape) - 1) / 2)
    return transform_points(affine, np.array(ndimage.center_of_mass(weight)))


def _scaled(volume: Volume, spacing: float) -> Volume:
    """Return a volume on an upright lattice, with intensities between 0 and 1."""
    small = resample(volume, lattice(volume, spacing))
    return small.with_data(normalize(small.data))


class _Pair:
    """Two images at one voxel size, compared at points of the fixed one."""

    def __init__(
        self, moving: Volume, fixed: Volume, mask: Volume | None, center: np.ndarray, spacing: float
    ) -> None:
        still, other = _scaled(fixed, spacing), _scaled(moving, spacing)
        inside = np.ones(still.grid.shape, bool)
        if mask is not None and bool((mask.data > 0).any()):
            brain = resample(mask.with_data((mask.data > 0).float()), still.grid).data.numpy() > 0.5
            inside = ndimage.distance_transform_edt(~brain, still.grid.spacing) < MARGIN
        chosen = np.argwhere(inside)
        chosen = chosen[:: max(1, len(chosen) // POINTS)]
        # Off the voxels' centers: coinciding voxels of two images would agree too well.
        index = chosen + np.random.default_rng(0).uniform(-0.5, 0.5, chosen.shape)
        self.points = transform_points(still.affine, index) - center
        self.values = _bins(ndimage.map_coordinates(still.data.numpy(), index.T, order=1, mode="nearest"))[0]
        self.moving, self.center = other.data.numpy(), center
        self.to_voxel = np.linalg.inv(other.affine)

    def search(self, start: np.ndarray, tolerance: float) -> tuple[np.ndarray, float]:
        """Return the best matrix (fixed mm to moving mm) from a start, and its mutual information (nats)."""
        if not self.information(start):
            return start, 0.0  # too little overlap for a search direction
        found = optimize.minimize(
            lambda x: -self.information(start @ self._motion(x)),
            np.zeros(6),
            method="Powell",
            options={"xtol": tolerance, "ftol": 1e-5, "direc": np.eye(6) * FIRST},
        )
        return start @ self._motion(found.x), -float(found.fun)

    def information(self, matrix: np.ndarray) -> float:
        """Return the mutual information (nats) of the intensities where the images overlap."""
        whole = self.to_voxel @ matrix
        index = transform_points(whole, self.points + self.center).T
        size = np.array(self.moving.shape)[:, None]
        shared = ((index > -0.5) & (index < size - 0.5)).all(0)
        if np.count_nonzero(shared) < LEAST_OVERLAP * len(self.points):
            return 0.0
        low, share = _bins(ndimage.map_coordinates(self.moving, index[:, shared], order=1, mode="nearest"))
        row = self.values[shared] * BINS
        joint = np.bincount(row + low, 1 - share, BINS**2)
        joint += np.bincount(row + np.minimum(low + 1, BINS - 1), share, BINS**2)
        joint = joint.reshape(BINS, BINS) / joint.sum()
        apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        some = joint > 0
        return float((joint[some] * np.log(joint[some] / apart[some])).sum())

    def _motion(self, x: np.ndarray) -> np.ndarray:
        """Return a rigid motion about the center: rotation vector (mm at ``RADIUS``), then shift (mm)."""
        out = np.eye(4)
        out[:3, :3] = Rotation.from_rotvec(x[:3] / RADIUS).as_matrix()
        out[:3, 3] = self.center + x[3:] - out[:3, :3] @ self.center
        return out


def _bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bin of every intensity in [0, 1], and its share in the next bin."""
    place = np.clip(values, 0, 1) * (BINS - 1)
    low = place.astype(np.int64)
    return low, place - low


def apply(moving: Volume, matrix: np.ndarray, grid: Grid) -> Volume:
    """Resample an aligned volume to the grid of the fixed image, by cubic splines.

    Parameters
    ----------
    moving : Volume
        The moving image.
    matrix : ndarray, shape (4, 4)
        Points (RAS mm) of the moving image to points of the fixed one.
    grid : Grid
        Grid of the fixed image.

    Returns
    -------
    Volume, float32
        The moving image on ``grid``.
    """
    return resample(Volume(moving.data.float(), matrix @ moving.affine), grid, mode="cubic")


def average(volumes: list[Volume], *, levels: tuple[float, ...] = LEVELS) -> tuple[Volume, list[np.ndarray]]:
    """Return the average of several scans of one head, in an unbiased space.

    Parameters
    ----------
    volumes : list of Volume
        Scans of one contrast.
    levels : tuple of float
        Voxel sizes (mm) of the alignment, coarse to fine.

    Returns
    -------
    mean : Volume, float32
        Mean (median of three or more) at the smallest voxel size of the scans.
    matrices : list of ndarray, shape (4, 4)
        For every scan, from its points (RAS mm) to those of the mean.
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
    """Return the matrix from the common target of rigid matrices to the middle of their sources.

    Parameters
    ----------
    matrices : list of ndarray, shape (4, 4)
        From the mm of every source to the mm of the target.

    Returns
    -------
    ndarray, shape (4, 4)
        From the mm of the target to the mm of the middle.

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
    data = [resample(volume, grid, mode="cubic").data for volume in moved]
    levels = [float(torch.quantile(d[d > d.mean()].flatten()[::7], 0.5)) for d in data]
    scaled = torch.stack([d * (levels[0] / level) for d, level in zip(data, levels, strict=True)])
    # An image says nothing of what lies outside its field of view.
    fields = [resample(v.with_data(torch.ones_like(v.data)), grid).data > SEEN for v in moved]
    scaled[~torch.stack(fields)] = torch.nan
    mean = scaled.nanmedian(0).values if len(data) > 2 else scaled.nanmean(0)
    return Volume(mean.nan_to_num(0.0), grid.affine)
