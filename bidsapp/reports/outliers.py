"""Outliers in a study: robust distances of volumes, adjusted for age and brain size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENOUGH = 8
"""Participant-sessions needed before outliers are computed."""

OUTLYING = 3.5
"""Distance, in robust standard deviations, from which a volume is an outlier."""

EACH = 6
"""Participant-sessions for every term of the adjustment; with fewer it would follow the outliers."""

TUNING = 4.685
"""Tukey's biweight, 95 % efficient."""


@dataclass(frozen=True)
class Distances:
    """Distances of participant-sessions.

    Attributes
    ----------
    z : ndarray, shape (n, structures)
        Residuals in robust standard deviations; NaN where a volume is missing.
    distance : ndarray, shape (n,)
        Root mean square of the residuals, in robust standard deviations over the participant-sessions.
    terms : tuple of str
        Variables that the volumes were adjusted for.
    """

    z: np.ndarray
    distance: np.ndarray
    terms: tuple[str, ...]


def distances(volumes: np.ndarray, size: np.ndarray, age: np.ndarray) -> Distances:
    """Return the robust distances of every participant-session.

    Parameters
    ----------
    volumes : ndarray, shape (n, structures)
        Volumes (mm3), NaN where unknown.
    size : ndarray, shape (n,)
        Volume of the brain (mm3), NaN where unknown.
    age : ndarray, shape (n,)
        Age, NaN where unknown; only used if all are known.

    Returns
    -------
    Distances
        All NaN with fewer than ``ENOUGH`` participant-sessions.

    Notes
    -----
    Logarithms of volumes are regressed on the logarithm of the brain volume and on age by iteratively
    reweighted least squares with Tukey's biweight (Beaton and Tukey 1974); values far from the median have no
    weight in the first fit.
    """
    count, width = volumes.shape
    z, distance = np.full((count, width), np.nan), np.full(count, np.nan)
    columns, terms = _design(size, age)
    for k in range(width):
        known = np.isfinite(volumes[:, k]) & (volumes[:, k] > 0) & np.isfinite(columns).all(1)
        if known.sum() >= ENOUGH:
            z[known, k] = residuals(columns[known], np.log(volumes[known, k]))
    rows = np.isfinite(z).any(1)
    if rows.any():
        clipped = np.clip(z[rows], -20, 20)
        root = np.sqrt(np.nanmean(clipped**2, axis=1))
        spread = 1.4826 * float(np.median(np.abs(root - np.median(root))))
        distance[rows] = (root - np.median(root)) / spread if spread > 0 else 0.0
    return Distances(z, distance, terms)


def _design(size: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the columns of the regression, as many as the number of participant-sessions allows."""
    count = len(size)
    columns, terms = [np.ones(count)], []
    for name, values in (("brain size", size), ("age", age)):
        known = np.isfinite(values).all() and (values > 0).all() and np.ptp(values) > 0 if count else False
        if known and count >= EACH * (len(columns) + 1):
            values = np.log(values) if name == "brain size" else values
            columns.append((values - values.mean()) / values.std())
            terms.append(name)
    return np.stack(columns, 1) if count else np.ones((0, 1)), tuple(terms)


def residuals(design: np.ndarray, target: np.ndarray, rounds: int = 20) -> np.ndarray:
    """Return the residuals of a robust regression in robust standard deviations.

    Parameters
    ----------
    design : ndarray, shape (n, terms)
        Columns of the regression.
    target : ndarray, shape (n,)
        Values to explain.
    rounds : int
        Iterations.

    Returns
    -------
    ndarray, shape (n,)
        Residuals divided by the scaled median absolute residual.
    """
    weight = np.ones(len(target))
    middle = np.median(target)
    spread = 1.4826 * float(np.median(np.abs(target - middle)))
    if spread > 0:  # values far from all others do not affect the first fit
        weight = (np.abs(target - middle) <= 4 * spread).astype(float)
    out = target - middle
    for _ in range(rounds):
        root = np.sqrt(weight)[:, None]
        solution = np.linalg.lstsq(design * root, target * root[:, 0], rcond=None)[0]
        out = target - design @ solution
        scale = 1.4826 * float(np.median(np.abs(out)))
        if scale <= 1e-12:
            return np.zeros(len(target)) if np.allclose(out, 0) else out / max(float(out.std()), 1e-12)
        weight = np.clip(1 - (out / (TUNING * scale)) ** 2, 0, None) ** 2
    return out / scale
