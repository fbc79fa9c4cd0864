"""Sums over the neighborhood of every voxel."""

from __future__ import annotations

from torch import Tensor


def total(values: Tensor) -> Tensor:
    """Return the sum over the three by three by three voxels around every voxel.

    Parameters
    ----------
    values : Tensor, shape (X, Y, Z)
        Values; zero beyond the edges.
    """
    for axis in range(3):
        whole, n = values.clone(), values.shape[axis]
        whole.narrow(axis, 1, n - 1).add_(values.narrow(axis, 0, n - 1))
        whole.narrow(axis, 0, n - 1).add_(values.narrow(axis, 1, n - 1))
        values = whole
    return values
