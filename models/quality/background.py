"""Background of a head for the image quality metrics: its extent, its artifacts and its noise.

The formulas are those of MRIQC's own code. Masks that MRIQC takes from other programs are found by Otsu's
threshold at 2 mm and a line through the template's nasion and cerebellum.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage, optimize, special
from skimage.filters import threshold_otsu

from ..geometry.regions import filled
from ..geometry.volume import Volume

HAT = ((85.0, -40.0), (-70.0, -65.0))
"""Two points (y, z in the template's mm), nasion and below the cerebellum; the background lies above."""

LEAST_VOXELS = 1000
"""Smallest number of background voxels with signal for background metrics."""

AWAY = 0.1
"""Part of the largest distance from the head beyond which bright voxels are artifacts, as in MRIQC."""

SAMPLE = 5000
"""Number of background voxels for the fit of the noise distribution."""


def surroundings(
    image: Volume, mask: Volume, matrix: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the head, the background and the frame of zeros from padding or rotation.

    Parameters
    ----------
    image, mask : Volume
        Scan and brain mask on one grid, shape (X, Y, Z).
    matrix : ndarray, shape (4, 4), or None
        From the scan's mm to the template's mm; None keeps the background below the nasion.

    Returns
    -------
    head, background, frame : ndarray of bool, shape (X, Y, Z)
        Head, background above the nasion, and frame.
    away : ndarray of bool, shape (X, Y, Z)
        Voxels far from the head: at least :data:`AWAY` of the largest distance, found at about 4 mm.
    """
    data = image.data.numpy()
    empty = data == 0
    frame = opened(empty, 2)
    if np.count_nonzero(frame) < 500:
        frame[:] = False
    step = [max(1, round(2 / size)) for size in image.grid.spacing]
    thin = tuple(slice(None, None, s) for s in step)
    small = ndimage.gaussian_filter(data[thin], 0.7)
    bright = small > 0.5 * _otsu(small[small > 0])
    bright |= mask.data.numpy()[thin] > 0
    closed = ndimage.binary_closing(np.pad(bright, 4), iterations=3)[4:-4, 4:-4, 4:-4] | bright
    pieces, count = ndimage.label(filled(closed))
    if count > 1:
        size = np.bincount(pieces.ravel())
        size[0] = 0
        pieces = pieces == size.argmax()
    head = _finer(pieces > 0, step, data.shape)
    wide = [2 * s for s in step]
    apart = ndimage.distance_transform_edt(pieces[::2, ::2, ::2] == 0, wide)
    away = _finer(apart >= AWAY * apart.max(), wide, data.shape)
    background = ~head & ~frame
    if matrix is not None:
        (y0, z0), (y1, z1) = HAT
        steep = (z1 - z0) / (y1 - y0)
        row = (matrix @ image.affine)[2] - steep * (matrix @ image.affine)[1]
        x, y, z = np.ogrid[tuple(slice(n) for n in data.shape)]
        background &= row[0] * x + row[1] * y + (row[3] - z0 + steep * y0) > -row[2] * z
    return head, background, frame, away


def _finer(data: np.ndarray, step: list[int], shape: tuple[int, ...]) -> np.ndarray:
    """Repeat voxels ``step`` times along the axes, up to ``shape``."""
    x, y, z = (np.minimum(np.arange(n) // s, m - 1) for n, s, m in zip(shape, step, data.shape, strict=True))
    return data[:, :, z][:, y][x]


def opened(mask: np.ndarray, times: int = 1) -> np.ndarray:
    """Return the opening of a mask by voxels that share a face.

    Equals scipy's ``binary_opening`` and is several times faster.

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Mask.
    times : int
        Number of erosions, and of dilations.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The opened mask.

    Examples
    --------
    >>> speck = np.zeros((5, 5, 5), bool); speck[2, 2, 2] = True
    >>> bool(opened(speck).any()), bool(opened(np.ones((5, 5, 5), bool))[2, 2, 2])
    (False, True)
    """
    out = np.pad(np.ascontiguousarray(mask), 1)
    inner = tuple(slice(1, -1) for _ in range(3))
    for frame in (False, True):  # erode the set, then the rest of it
        for _ in range(times):
            _erode(out, frame)
            if not frame and not out.any():
                return np.zeros(mask.shape, bool)
        if not frame:
            np.logical_not(out, out=out)
    return ~out[inner]


def _erode(mask: np.ndarray, frame: bool) -> None:
    """Erode a contiguous mask in place; ``frame`` is the value of its outermost voxels, which stays.

    Neighbors are shifts of the flat array; what runs over the end of a line ends in the frame.
    """
    before, after = mask.ravel().copy(), mask.ravel()
    for step in (mask.shape[1] * mask.shape[2], mask.shape[2], 1):
        after[step:] &= before[:-step]
        after[:-step] &= before[step:]
    for axis in range(3):
        for end in (0, -1):
            mask[tuple(end if a == axis else slice(None) for a in range(3))] = frame


def _otsu(values: np.ndarray) -> float:
    """Return Otsu's threshold between dark and bright values; the brightest 0.5 % do not stretch its bins."""
    if not values.size:
        return 0.0
    count, edges = np.histogram(values, 256, (0, float(np.percentile(values, 99.5)) or 1.0))
    return float(threshold_otsu(hist=(count, (edges[:-1] + edges[1:]) / 2)))


def artifacts_in(data: np.ndarray, away: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the background voxels with artifacts (Mortamet et al. 2009, after MRIQC's code).

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Intensities.
    away : ndarray of bool, shape (X, Y, Z)
        Voxels far from the head.
    background : ndarray of bool, shape (X, Y, Z)
        Background.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        Artifacts.
    """
    values = data[background]
    spread = float(np.median(np.abs(values[values > 0] - np.median(values[values > 0]))) / 0.6745)
    out = np.zeros(data.shape, bool)
    if spread <= 0:
        return out
    out[background] = values / spread > 10
    out &= away
    return opened(out) & background


def chi_squared(x: np.ndarray, degrees: float, place: float, scale: float) -> np.ndarray:
    """Return the density of a chi-squared distribution.

    Parameters
    ----------
    x : ndarray
        Values.
    degrees, place, scale : float
        Degrees of freedom, location and scale.

    Returns
    -------
    ndarray
        Density at ``x``.
    """
    y = (x - place) / scale
    inside = y > 0
    y = np.where(inside, y, 1.0)
    log = special.xlogy(degrees / 2 - 1, y) - y / 2 - special.gammaln(degrees / 2) - degrees / 2 * math.log(2)
    return np.where(inside, np.exp(log) / scale, 0.0)


def fit_chi_squared(sample: np.ndarray, degrees: float = 32) -> tuple[float, float, float]:
    """Return the maximum-likelihood parameters of a chi-squared distribution.

    Equals the fit of ``scipy.stats``, whose import takes a second.

    Parameters
    ----------
    sample : ndarray, shape (N,)
        Values.
    degrees : float
        Initial degrees of freedom.

    Returns
    -------
    degrees, place, scale : float
        Degrees of freedom, location and scale.
    """

    def loss(x: np.ndarray) -> float:
        if x[0] <= 0 or x[2] <= 0:
            return math.inf
        density = chi_squared(sample, *x)
        beyond = np.count_nonzero(density <= 0)
        return beyond * 100 * math.log(np.finfo(float).max) - float(np.log(density[density > 0]).sum())

    scale = math.sqrt(float(sample.var()) / (2 * degrees))
    place = float(sample.mean()) - scale * degrees
    if place >= float(sample.min()):
        place = float(sample.min()) - 0.1 * float(np.ptp(sample))
    found = optimize.fmin(loss, (degrees, place, scale), disp=False)
    return float(found[0]), float(found[1]), float(found[2])


def noise_misfit(background: np.ndarray, seed: int = 0) -> float:
    """Return the misfit of the background's noise to a chi-squared distribution (QI2, Mortamet et al. 2009).

    Parameters
    ----------
    background : ndarray, shape (N,)
        Intensities of the background.
    seed : int
        Seed of the sample for the fit.

    Returns
    -------
    float
        Mean absolute difference of the densities beyond the peak; NaN with too few voxels.
    """
    values = np.clip(background[np.isfinite(background)], 0, None)
    if (values > 0).sum() < LEAST_VOXELS:
        return math.nan
    values = values * (100 / max(float(np.percentile(values, 99)), 1e-6))
    rng = np.random.default_rng(seed)
    sample = rng.choice(values, min(SAMPLE, values.size), replace=False)
    grid = np.linspace(0, 110, 1000)
    count, _ = np.histogram(values, 2000, (-110, 110 * 1.5))
    centers = np.linspace(-110, 165, 2001)[:-1] + 275 / 4000
    step = 275 / 2000
    density = ndimage.gaussian_filter1d(count / (values.size * step), 4.0 / step, mode="constant")
    density = np.interp(grid, centers, density)
    reach = int(np.argmax(density[::-1] > density.max() / 2))
    fitted = chi_squared(grid, *fit_chi_squared(sample))
    return float(np.abs(density[-reach:] - fitted[-reach:]).mean())
