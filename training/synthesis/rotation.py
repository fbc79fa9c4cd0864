"""Random rotations and scalings."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .deformation import uniform


def any_rotation() -> Tensor:
    """Return a rotation matrix (3, 3), uniformly distributed over all rotations (Shoemake 1992)."""
    q = torch.randn(4)
    w, x, y, z = (q / q.norm()).tolist()
    return torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip


def small_rotation(degrees: float) -> Tensor:
    """Return a rotation matrix (3, 3) whose components about the axes are at most ``degrees``."""
    skew = torch.zeros(3, 3)
    a, b, c = ((torch.rand(3) * 2 - 1) * math.radians(degrees)).tolist()
    skew[0, 1], skew[0, 2], skew[1, 2] = -c, b, -a
    return torch.linalg.matrix_exp(skew - skew.T)


def random_scaling(overall: float, anisotropy: float) -> Tensor:
    """Return a diagonal matrix (3, 3) of a common random factor times a random factor per axis.

    Parameters
    ----------
    overall, anisotropy : float
        Maximum deviation from 1 of the common factor and of those of the axes.
    """
    factor = 1 + uniform(-overall, overall)
    return torch.diag(factor * (1 + (torch.rand(3) * 2 - 1) * anisotropy))
