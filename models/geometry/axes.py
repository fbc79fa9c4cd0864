"""Values along the three axes of a grid, and their order in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np

BLOCK = 16
"""Sides of the blocks in which voxels change their order: a block of an image fits into the caches."""

T = TypeVar("T")


def triple(values: Iterable[T]) -> tuple[T, T, T]:
    """Return the values of the three axes, such as a shape, as a tuple.

    Parameters
    ----------
    values : iterable
        One value for each axis.

    Returns
    -------
    tuple
        The three values.

    Raises
    ------
    ValueError
        If there are not three values.

    Examples
    --------
    >>> triple(2 * n for n in [4, 5, 6])
    (8, 10, 12)
    """
    x, y, z = values
    return x, y, z


def slabs(data: np.ndarray) -> Iterator[np.ndarray]:
    """Return voxels in the order of a NIfTI file, the first axis fastest, some planes at a time.

    Without blocks, images whose sides are powers of two take five times as long: columns share cache lines.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z, ...)
        Values, in any order in memory.

    Yields
    ------
    ndarray, shape (z, Y, X)
        Planes of the third axis, contiguous; volume after volume.

    Examples
    --------
    >>> data = np.arange(24).reshape(2, 3, 4)
    >>> bool((np.concatenate(list(slabs(data))) == data.T).all())
    True
    """
    if data.ndim > 3:
        for number in range(data.shape[-1]):
            yield from slabs(data[..., number])
        return
    wide, _, high = data.shape
    for z in range(0, high, BLOCK):
        part = np.empty((min(BLOCK, high - z), *data.shape[1::-1]), data.dtype)
        for x in range(0, wide, BLOCK):
            part[:, :, x : x + BLOCK] = data[x : x + BLOCK, :, z : z + BLOCK].transpose(2, 1, 0)
        yield part


def in_memory_order(data: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """Return a copy of voxels with the last axis fastest, block by block as :func:`slabs`.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Values, in any order in memory.
    dtype : NumPy scalar type
        Type of the copy.

    Returns
    -------
    ndarray, shape (X, Y, Z)
        The copy, C-contiguous.
    """
    out = np.empty(data.shape, dtype)
    for x in range(0, data.shape[0], BLOCK):
        for z in range(0, data.shape[2], BLOCK):
            out[x : x + BLOCK, :, z : z + BLOCK] = data[x : x + BLOCK, :, z : z + BLOCK]
    return out
