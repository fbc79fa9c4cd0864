"""Formulas of the image quality metrics, after MRIQC's code (24.0, ``mriqc/qc/anatomical.py``)."""

from __future__ import annotations

import math

import numpy as np

DIETRICH = 1 / math.sqrt(2 / (4 - math.pi))
"""Rayleigh correction of the background's deviation (Dietrich et al. 2007, equation A.12)."""


def snr(mu: float, sigma: float, n: float) -> float:
    """Return the signal-to-noise ratio within a tissue.

    Parameters
    ----------
    mu, sigma : float
        Median and deviation of the intensities.
    n : float
        Number of voxels.

    Returns
    -------
    float
        Ratio.

    Examples
    --------
    >>> round(snr(1000, 50, 101), 3)
    19.901
    """
    return mu / (sigma * math.sqrt(n / (n - 1)))


def snr_dietrich(mu: float, mad_air: float, sigma_air: float) -> float | None:
    """Return the signal-to-noise ratio against the background (Dietrich et al. 2007).

    Parameters
    ----------
    mu : float
        Median intensity of a tissue.
    mad_air, sigma_air : float
        Median absolute deviation and standard deviation of the background.

    Returns
    -------
    float or None
        Ratio; None without noise.

    Examples
    --------
    >>> round(snr_dietrich(1000, 20, 25), 2)
    32.76
    """
    if mad_air > 1:
        return DIETRICH * mu / mad_air
    return DIETRICH * mu / sigma_air if sigma_air > 1e-3 else None


def cnr(mu_wm: float, mu_gm: float, sigma_air: float, sigma_wm: float, sigma_gm: float) -> float:
    """Return the contrast-to-noise ratio of white and gray matter.

    Parameters
    ----------
    mu_wm, mu_gm : float
        Medians.
    sigma_air, sigma_wm, sigma_gm : float
        Standard deviations.

    Returns
    -------
    float
        Ratio.

    Examples
    --------
    >>> round(cnr(1000, 700, 0, 30, 40), 3)
    6.0
    """
    return abs(mu_wm - mu_gm) / math.sqrt(sigma_air**2 + sigma_wm**2 + sigma_gm**2)


def cjv(mu_wm: float, mu_gm: float, mad_wm: float, mad_gm: float) -> float:
    """Return the coefficient of joint variation of gray and white matter.

    Parameters
    ----------
    mu_wm, mu_gm : float
        Medians.
    mad_wm, mad_gm : float
        Median absolute deviations.

    Returns
    -------
    float
        Coefficient.

    Examples
    --------
    >>> round(cjv(1000, 700, 30, 60), 3)
    0.3
    """
    return (mad_wm + mad_gm) / abs(mu_wm - mu_gm)


def fber(image: np.ndarray, head: np.ndarray, background: np.ndarray) -> float | None:
    """Return the foreground-to-background energy ratio, from medians.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        Intensities.
    head, background : ndarray of bool, shape (X, Y, Z)
        Masks.

    Returns
    -------
    float or None
        Ratio; None without signal in the background.
    """
    energy = float(np.median(image[background].astype(np.float64) ** 2)) if background.any() else 0.0
    if energy < 1e-3:
        return None
    return float(np.median(image[head].astype(np.float64) ** 2)) / energy


def efc(image: np.ndarray) -> float:
    """Return the entropy focus criterion: the entropy of the intensities over its maximum.

    Parameters
    ----------
    image : ndarray
        Intensities.

    Returns
    -------
    float
        Criterion, 0 to 1.

    Examples
    --------
    >>> round(efc(np.ones(4096)), 6)
    1.0
    """
    values = image.ravel().astype(np.float64)
    count = values.size
    total = math.sqrt(float((values**2).sum()))
    largest = count / math.sqrt(count) * math.log(1 / math.sqrt(count))
    share = values / total
    return float((share * np.log((values + 1e-16) / total)).sum() / largest)


def statistics(image: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Weighted summary of a tissue's intensities.

    Parameters
    ----------
    image, weight : ndarray of the same shape
        Intensities, and the share of each voxel in the tissue.

    Returns
    -------
    dict
        ``mean``, ``median``, ``p05``, ``p95``, ``stdv`` (weighted), ``k`` (excess kurtosis) and
        ``mad`` (median absolute deviation from the median over 0.6745) of the voxels with more than half of
        the largest share, and ``n``, the shares' sum. Empty without such voxels.
    """
    chosen = weight > 0
    values, shares = np.rint(image[chosen].astype(np.float64)), np.round(weight[chosen].astype(np.float64), 3)
    total = shares.sum()
    sure = image[weight > 0.5 * float(weight.max())] if chosen.any() else np.zeros(0)
    if total <= 1 or sure.size < 2:
        return {}
    least, ranked = values.min(), None
    if np.ptp(values) < 1e6:  # whole numbers: counting is faster than sorting
        cumulated = np.cumsum(np.bincount((values - least).astype(np.int64), shares))
    else:
        order = np.argsort(values, kind="stable")
        ranked, cumulated = values[order], np.cumsum(shares[order])
    places = [min(int(np.searchsorted(cumulated, q * total)), cumulated.size - 1) for q in (0.05, 0.5, 0.95)]
    low, median, high = (float(least + k if ranked is None else ranked[k]) for k in places)
    mean = float((values * shares).sum() / total)
    return {
        "mean": mean,
        "median": median,
        "p05": low,
        "p95": high,
        "stdv": math.sqrt(float((shares * (values - mean) ** 2).sum() / total)),
        "k": kurtosis(sure) if np.ptp(sure) > 0 else 0.0,
        "mad": float(np.median(np.abs(sure - median)) / 0.6745),
        "n": float(weight.sum(dtype=np.float64)),
    }


def kurtosis(values: np.ndarray) -> float:
    """Return the excess kurtosis.

    Parameters
    ----------
    values : ndarray
        Values.

    Returns
    -------
    float
        Excess kurtosis, 0 for a normal distribution.

    Examples
    --------
    >>> kurtosis(np.array([0.0, 1.0]))
    -2.0
    """
    away = values.astype(np.float64) - values.mean(dtype=np.float64)
    return float((away**4).mean() / (away**2).mean() ** 2 - 3)


def rpve(probability: np.ndarray, size: int | None = None) -> float:
    """Return the residual partial volume error of a tissue, after MRIQC's code, which counts all voxels.

    Parameters
    ----------
    probability : ndarray, shape (X, Y, Z)
        Probability of the tissue.
    size : int, optional
        Number of voxels of the image, if ``probability`` is a part of it without the voxels of 0.

    Returns
    -------
    float
        Error; NaN without the tissue.
    """
    inside = probability[probability > 0]
    if not inside.size:
        return math.nan
    low, high = np.percentile(inside, (2, 98))
    kept = inside[(inside >= low) & (inside <= high)]
    beyond = (size or probability.size) - kept.size  # set to zero, so each counts as one
    major, minor = kept[kept > 0.5], kept[kept <= 0.5]
    return float((major.sum() + (1 - minor).sum() + beyond) / inside.size)


def fwhm(image: np.ndarray, mask: np.ndarray) -> list[float]:
    """Return the smoothness along each axis, from first differences (Forman et al. 1995).

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        Intensities.
    mask : ndarray of bool, shape (X, Y, Z)
        Brain mask.

    Returns
    -------
    list of float
        Full width at half maximum (voxels) along each axis; NaN if it is undefined.
    """
    spread = float(image[mask].var()) if mask.any() else 0.0
    out = []
    for axis in range(3):
        first = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        second = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        both = mask[first] & mask[second]
        step = (image[second][both] - image[first][both]).var() if both.any() else 0.0
        correlation = 1 - float(step) / (2 * spread) if spread > 0 else 0.0
        known = 0 < correlation < 1
        out.append(math.sqrt(8 * math.log(2) * -1 / (4 * math.log(correlation))) if known else math.nan)
    return out


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the fuzzy Jaccard index of two probability maps.

    Parameters
    ----------
    found, expected : ndarray
        Probabilities on one grid.

    Returns
    -------
    float
        Index, 0 to 1.
    """
    return float(np.minimum(found, expected).sum() / max(float(np.maximum(found, expected).sum()), 1e-6))
