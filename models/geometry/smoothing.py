"""Convolution with symmetric weights along one axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PART = 2**20
"""Values that are convolved at once: more of them do not stay in the caches."""


def weighted(data: Tensor, axis: int, weights: Tensor, replicate: bool = False) -> Tensor:
    """Convolve with symmetric weights along one axis, as a sum of shifted copies.

    Parameters
    ----------
    data : Tensor, shape (C, X, Y, Z)
        Values.
    axis : int
        Axis of ``data``.
    weights : Tensor, shape (2 R + 1,)
        Symmetric weights.
    replicate : bool
        Whether values outside are those at the edge; otherwise zero.

    Notes
    -----
    On CPUs ten times as fast as a convolution of one channel, with equal results on any number of threads.

    Examples
    --------
    >>> weighted(torch.ones(1, 3, 1, 1), 1, torch.tensor([0.25, 0.5, 0.25])).flatten().tolist()
    [0.75, 1.0, 0.75]
    """
    if data.numel() > 2 * PART:
        # Parts stay in the caches between the copies.
        parts, other = math.ceil(data[0].numel() / PART), 1 if axis != 1 else 2
        out = torch.empty_like(data)
        for before, after in zip(data.split(1), out.split(1), strict=True):
            for old, new in zip(before.chunk(parts, other), after.chunk(parts, other), strict=True):
                new.copy_(weighted(old, axis, weights, replicate))
        return out
    radius, count = len(weights) // 2, data.shape[axis]
    values = weights.tolist()
    out = data * values[radius]
    for k in range(1, radius + 1):
        w, m = values[radius + k], min(k, count)
        if m < count:
            out.narrow(axis, k, count - k).add_(data.narrow(axis, 0, count - k), alpha=w)
            out.narrow(axis, 0, count - k).add_(data.narrow(axis, k, count - k), alpha=w)
        if replicate:
            out.narrow(axis, 0, m).add_(data.narrow(axis, 0, 1), alpha=w)
            out.narrow(axis, count - m, m).add_(data.narrow(axis, count - 1, 1), alpha=w)
    return out
