"""Intervals of volumes from the spread of probabilities.

A volume is a sum of probabilities p. If voxels erred independently, its variance would be the sum of
p (1 - p), which is far too small: where a border is misplaced, it is misplaced over some distance. The errors
of two voxels are therefore taken as correlated; the correlation falls with their distance d as
exp(-d^2 / 2 L^2).
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor

from .axes import occupied
from .volume import Grid

LENGTH = 8.0
"""Correlation length L (mm), for which intervals hold true volumes (``benchmarks/intervals.py``)."""

BLOCK = 2.0
"""Size (mm) of the blocks of voxels within which errors are the same."""

WIDTH = 1.96
"""Half of a 95 % interval in standard deviations."""


def deviation(probability: Tensor, grid: Grid) -> float:
    """Return the standard deviation (mm3) of a volume.

    Parameters
    ----------
    probability : Tensor, shape (X, Y, Z)
        Probability of a structure.
    grid : Grid
        Its grid.
    """
    single = (probability * (1 - probability)).clamp_(min=0).sqrt_().numpy()
    box = occupied(single)
    if not single[box].size:
        return 0.0
    steps = [max(1, round(BLOCK / float(size))) for size in grid.spacing]
    blocks = _pooled(single[box], steps)
    sigmas = LENGTH / (np.array(steps) * grid.spacing)
    # The filter's kernel sums to one; correlations are one at distance zero.
    scale = float(np.prod(np.sqrt(2 * np.pi) * sigmas))
    near = ndimage.gaussian_filter(blocks, sigmas, mode="constant", truncate=3.0) * scale
    return float(np.sqrt(max(0.0, (blocks * near).sum()))) * grid.voxel_volume


def ends(volume: float, spread: float) -> tuple[float, float]:
    """Return the ends of the interval of a volume.

    Examples
    --------
    >>> ends(100.0, 10.0), ends(10.0, 10.0)
    ((80.4, 119.6), (0.0, 29.6))
    """
    return max(0.0, volume - WIDTH * spread), volume + WIDTH * spread


def _pooled(values: np.ndarray, steps: list[int]) -> np.ndarray:
    """Return the sums over blocks of voxels; the last blocks may be smaller."""
    for axis, step in enumerate(steps):
        values = np.moveaxis(values, axis, 0)
        sums = values[::step].copy()
        for k in range(1, step):
            sums[: len(values[k::step])] += values[k::step]
        values = np.moveaxis(sums, 0, axis)
    return values
