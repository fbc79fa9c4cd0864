"""Bias correction by N4 (Tustison et al. 2010), on a thinned grid."""

from __future__ import annotations

import numpy as np
import torch

from ..geometry.volume import Volume, box
from . import n4

MARGIN = 10.0
"""Margin (mm) around the brain in which the field is fitted."""


def correct(volume: Volume, mask: Volume, *, shrink: int = 4) -> tuple[Volume, Volume]:
    """Remove the smooth intensity field of the coils.

    Parameters
    ----------
    volume : Volume
        The scan.
    mask : Volume
        The brain, on the same grid: the field is estimated there and extrapolated smoothly.
    shrink : int
        Factor by which the grid is thinned for the estimate.

    Returns
    -------
    corrected : Volume, float32
        The scan divided by the field, with its median in the brain kept.
    field : Volume, float32
        The field, 1 on average in the brain.
    """
    whole = volume.data.numpy()
    # The spline is fitted to the brain; beyond its box the field goes on as it is at the edge.
    start, shape = box(mask, MARGIN)
    window = tuple(
        slice(max(s, 0), min(s + n, size)) for s, n, size in zip(start, shape, whole.shape, strict=True)
    )
    data = np.ascontiguousarray(whole[window])
    inside = mask.data.numpy()[window] > 0
    field = _fit(data, inside, volume.grid.spacing, shrink)
    field /= np.median(field[inside])
    around = [(w.start, size - w.stop) for w, size in zip(window, whole.shape, strict=True)]
    before, after = np.median(data[inside]), np.median((data / field)[inside])
    field = np.pad(field, around, mode="edge")
    corrected = whole / field
    if after > 0 and before > 0:
        corrected *= before / after
    return volume.with_data(torch.from_numpy(corrected.astype(np.float32))), volume.with_data(
        torch.from_numpy(field)
    )


def _fit(data: np.ndarray, inside: np.ndarray, size: np.ndarray, shrink: int) -> np.ndarray:
    """Return the bias field that N4 finds in a box, float32.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Intensities.
    inside : ndarray of bool, shape (X, Y, Z)
        Brain.
    size : ndarray, shape (3,)
        Voxel size (mm).
    shrink : int
        Factor by which the grid is thinned.
    """
    # N4 works on logarithms: what is not above zero must be.
    low = float(data[inside].min())
    positive = data - min(low, 0.0) + 1e-3 * max(float(np.abs(data[inside]).max()), 1e-6)
    spacing = [float(s) for s in size]
    # Voxels of a few mm are thin enough already.
    steps = [max(1, min(shrink, int(4.5 / s))) for s in spacing]
    counts = [max(1, n // step) for n, step in zip(data.shape, steps, strict=True)]
    # The voxels that are kept lie around the middle of the box.
    starts = [(n - 1 - (m - 1) * k) // 2 for n, m, k in zip(data.shape, counts, steps, strict=True)]
    kept = tuple(slice(a, a + m * k, k) for a, m, k in zip(starts, counts, steps, strict=True))
    where = [(np.arange(n) - a) / k for n, a, k in zip(data.shape, starts, steps, strict=True)]
    sizes = [s * k for s, k in zip(spacing, steps, strict=True)]
    known = inside[kept] if inside[kept].any() else np.ones(counts, bool)
    return n4.estimate(np.maximum(positive[kept], 1e-6), known, sizes, where)
