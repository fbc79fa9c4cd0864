"""Subclasses of intensity from a real image: a Gaussian mixture in every meta-label.

As in FetalSynthSeg (Zalevskyi et al. 2024): labels are merged into a few meta-labels (fluid, gray, white,
surroundings), each is split by expectation-maximization on the image's intensities into 1, 2, 3 and 4
subclasses, and the generator draws how many it uses. Meta-labels are the column ``meta`` of a source table.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

MOST = 4
"""Maximum number of subclasses of a meta-label."""

CODES = 256
"""Codes of the packed form: ``24 * meta + s2 + 2 * s3 + 6 * s4``, where ``sN`` is the subclass among N."""

MOST_METAS = CODES // 24 - 1

SAMPLE = 50_000
"""Maximum number of voxels for the fit of a mixture."""


def mixture(values: np.ndarray, count: int, *, steps: int = 40) -> np.ndarray:
    """Return the subclass of every value, 0 the darkest, by a Gaussian mixture fitted by EM.

    Parameters
    ----------
    values : ndarray, shape (N,)
        Intensities.
    count : int
        Number of subclasses.
    steps : int
        Iterations of EM.

    Examples
    --------
    >>> mixture(np.array([1.0, 1.2, 0.9, 8.0, 8.1, 7.9]), 2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    if count < 2 or len(values) < count:
        return np.zeros(len(values), np.uint8)
    sample = values[:: max(1, len(values) // SAMPLE)].astype(float)
    least = (1e-3 * (np.ptp(sample) + 1e-6)) ** 2
    # Initialize from equal parts of the sorted values.
    parts = np.array_split(np.sort(sample), count)
    mean = np.array([p.mean() for p in parts])
    variance = np.array([p.var() for p in parts]) + least
    share = np.full(count, 1 / count)
    for _ in range(steps):
        p = _memberships(sample, mean, variance, share)
        size = p.sum(1) + 1e-6
        mean = p @ sample / size
        variance = (p * (sample - mean[:, None]) ** 2).sum(1) / size + least
        share = size / size.sum()
    rank = np.argsort(np.argsort(mean))
    return rank[_memberships(values.astype(float), mean, variance, share).argmax(0)].astype(np.uint8)


def _memberships(values: np.ndarray, mean: np.ndarray, variance: np.ndarray, share: np.ndarray) -> np.ndarray:
    log = -0.5 * (values - mean[:, None]) ** 2 / variance[:, None]
    log += np.log(share / np.sqrt(variance))[:, None]
    p = np.exp(log - log.max(0))
    return p / p.sum(0)


def find_seeds(image: np.ndarray, meta: np.ndarray) -> np.ndarray:
    """Return the subclasses of every meta-label of an image, for 1 to ``MOST`` subclasses.

    Parameters
    ----------
    image : ndarray, shape (X, Y, Z)
        Intensities.
    meta : ndarray of int, shape (X, Y, Z)
        Meta-labels; 0 gets no seeds.

    Returns
    -------
    ndarray of uint8, shape (X, Y, Z, MOST)
        Volume n - 1 holds ``10 * meta + subclass`` with subclasses 1 (darkest) to n; 0 where there is none.
    """
    out = np.zeros((*meta.shape, MOST), np.uint8)
    for value in np.unique(meta[meta > 0]):
        where = meta == value
        for count in range(1, MOST + 1):
            out[where, count - 1] = 10 * value + 1 + mixture(image[where], count)
    return out


def pack(seeds: np.ndarray) -> np.ndarray:
    """Return the seeds of :func:`find_seeds` as one byte per voxel (see :data:`CODES`), shape (X, Y, Z)."""
    meta = seeds[..., 0] // 10
    sub = [seeds[..., n - 1] % 10 - 1 for n in (2, 3, 4)]
    code = 24 * meta.astype(np.int16) + sub[0] + 2 * sub[1].astype(np.int16) + 6 * sub[2].astype(np.int16)
    return np.where(meta > 0, code, 0).astype(np.uint8)


def code_subclasses(meta: int, count: int) -> tuple[Tensor, Tensor]:
    """Return the packed codes of a meta-label, and the subclass of each code.

    Parameters
    ----------
    meta : int
        Meta-label.
    count : int
        Number of subclasses.
    """
    base = torch.arange(24)
    among = {1: torch.zeros(24, dtype=torch.long), 2: base % 2, 3: base // 2 % 3, 4: base // 6}
    return 24 * meta + base, among[count]
