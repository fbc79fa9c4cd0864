"""Sums over many voxels that are the same on any number of threads.

PyTorch gives every thread a part of such a sum, so that its rounding depends on their number. The fit to the
intensities of a scan amplifies it: labels of thousands of voxels changed with the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def total(values: Tensor) -> float:
    """Return the sum of all values.

    Parameters
    ----------
    values : Tensor
        Values of any shape.

    Examples
    --------
    >>> total(torch.arange(4.0).view(2, 2))
    6.0
    """
    with one_thread():
        return float(values.sum())


def product(first: Tensor, second: Tensor) -> Tensor:
    """Return the product of matrices with few rows or columns and very many summands.

    Parameters
    ----------
    first : Tensor, shape (K, N)
        First matrix.
    second : Tensor, shape (N, L) or (N,)
        Second matrix.

    Returns
    -------
    Tensor, shape (K, L) or (K,)
        Product.
    """
    with one_thread():
        return first @ second
