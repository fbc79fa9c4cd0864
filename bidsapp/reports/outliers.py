"""Who is unusual in a study: robust distances of volumes, adjusted for age and the size of the brain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ENOUGH = 8
"""Units needed before anything is called unusual."""

UNUSUAL = 3.5
"""Distance, in robust standard deviations, from which it is."""

EACH = 6
"""Units for every term of the adjustment: with fewer it would follow the outliers."""

TUNING = 4.685
"""Tukey's biweight, 95 % efficient."""


@dataclass(frozen=True)
class Distances:
    """Distances of units.

    Attributes
    ----------
    z : ndarray, shape (units, structures)
        Residuals in robust standard deviations; NaN where a volume is missing.
    distance : ndarray, shape (units,)
        Root mean square of a unit's residuals, in robust standard deviations over the units.
    terms : tuple of str
        What the volumes were adjusted for.
    """

    z: np.ndarray
    distance: np.ndarray
    terms: tuple[str, ...]


def distances(volumes: np.ndarray, size: np.ndarray, age: np.ndarray) -> Distances:
    """Robust distances of every unit.

    Parameters
    ----------
    volumes : ndarray, shape (units, structures)
        Volumes (mm3), NaN where unknown.
    size : ndarray, shape (units,)
        Volume of the brain (mm3), NaN where unknown.
    age : ndarray, shape (units,)
        Age (years), NaN where unknown; left out unless everybody's is known.

    Returns
    -------
    Distances
        All NaN among fewer than ``ENOUGH`` units.

    Notes
    -----
    Logarithms of volumes are regressed on that of the brain's and on age by iteratively reweighted least
    squares with Tukey's biweight (Beaton and Tukey 1974), from a start without outliers' leverage.
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
    """Columns of the regression, as many as the number of units bears."""
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
    """Residuals of a robust regression in robust standard deviations."""
    weight = np.ones(len(target))
    middle = np.median(target)
    spread = 1.4826 * float(np.median(np.abs(target - middle)))
    if spread > 0:  # what is far from all others has no say in the first fit
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
