"""Values along the three axes of a grid, and their order in memory."""

from __future__ import annotations

import itertools
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
    high = data.shape[2]
    # Most voxels of a head are zero around the brain, and stay so.
    starts = list(itertools.product(*(range(s.start, s.stop, BLOCK) for s in occupied(data)[:2])))
    for z in range(0, high, BLOCK):
        part = np.zeros((min(BLOCK, high - z), *data.shape[1::-1]), data.dtype)
        for x, y in starts:
            block = data[x : x + BLOCK, y : y + BLOCK, z : z + BLOCK]
            part[:, y : y + BLOCK, x : x + BLOCK] = block.transpose(2, 1, 0)
        yield part


def occupied(data: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the box around the values that are not zero; an empty one if there are none.

    Parameters
    ----------
    data : ndarray, shape (X, Y, Z)
        Values.

    Returns
    -------
    tuple of slice
        The box.

    Examples
    --------
    >>> data = np.zeros((4, 5, 6)); data[1:3, 2, 4:] = 7
    >>> occupied(data)
    (slice(1, 3, None), slice(2, 3, None), slice(4, 6, None))
    """
    if data.dtype.kind == "f" and data.flags.c_contiguous:
        data = data.view(f"i{data.itemsize}")  # compared several times as fast
    ends = extent(data)
    if ends is None:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    x, y, z = (slice(first, last + 1) for first, last in ends)
    return x, y, z


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


def extent(inside: np.ndarray) -> tuple[tuple[int, int], ...] | None:
    """Return the first and the last index along each axis of what is inside; None if nothing is.

    Parameters
    ----------
    inside : ndarray, shape (X, Y, Z)
        Mask, or values that are not zero inside, in any order in memory.

    Returns
    -------
    tuple of tuple of int, or None
        First and last index, for each axis.

    Examples
    --------
    >>> mask = np.zeros((4, 5, 6), bool)
    >>> mask[1:3, 2, 3:] = True
    >>> extent(mask)
    ((1, 2), (2, 2), (3, 5))
    """
    reverse = inside.strides[0] < inside.strides[-1]
    slow = inside.T if reverse else inside
    first = next((k for k, plane in enumerate(slow) if plane.any()), None)
    if first is None:
        return None
    last = next(k for k in reversed(range(len(slow))) if slow[k].any())
    some = slow[first : last + 1]
    # One pass in the order of the memory, with vector instructions.
    flat = np.asarray(np.bitwise_or.reduce(some, axis=0) if inside.dtype.kind in "biu" else some.any(axis=0))
    there = [np.flatnonzero(flat.any(axis=axis)) for axis in (1, 0)]
    ends = [(first, last), *((int(index[0]), int(index[-1])) for index in there)]
    return tuple(ends[::-1] if reverse else ends)
