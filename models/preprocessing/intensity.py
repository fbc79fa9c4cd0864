"""Normalizations of intensities by name, for networks that are trained on images with labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..geometry.volume import normalize

MOST = 200_000
"""Number of voxels from which statistics are computed."""

FARTHEST = 5.0
"""Deviations to which values are clipped."""


def robust(image: Tensor, inside: Tensor) -> Tensor:
    """Return deviations from the median inside, in units of the robust standard deviation; 0 outside.

    Parameters
    ----------
    image : Tensor, shape (X, Y, Z)
        Intensities.
    inside : Tensor of bool, shape (X, Y, Z)
        Voxels that count.

    Examples
    --------
    >>> image = torch.tensor([0.0, 1.0, 2.0, 3.0, 100.0])
    >>> [round(value, 2) for value in robust(image, image > 0).tolist()]
    [0.0, -1.01, -0.34, 0.34, 5.0]
    """
    values = _values(image, inside)
    center = torch.quantile(values, 0.5)
    deviation = 1.4826 * torch.quantile((values - center).abs(), 0.5)
    return _scaled(image, inside, center, deviation)


def zscore(image: Tensor, inside: Tensor) -> Tensor:
    """Return deviations from the mean inside, in units of the standard deviation; 0 outside."""
    values = _values(image, inside)
    return _scaled(image, inside, values.mean(), values.std())


def clipped_zscore(image: Tensor, inside: Tensor) -> Tensor:
    """Return deviations as :func:`zscore` does, after clipping to the 10th and 99th percentile inside."""
    low, high = torch.quantile(_values(image, inside), torch.tensor([0.1, 0.99])).tolist()
    return zscore(image.clamp(low, high), inside)


def unit(image: Tensor, inside: Tensor) -> Tensor:
    """Return intensities in [0, 1], as the shipped networks get them."""
    return normalize(torch.where(inside, image, 0.0))


NORMALIZATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "robust": robust,
    "zscore": zscore,
    "clipped-zscore": clipped_zscore,
    "unit": unit,
}
"""Functions of image and inside, by name."""


def _values(image: Tensor, inside: Tensor) -> Tensor:
    values = image[inside].float()
    if not values.numel():
        return torch.zeros(2)
    return values[:: max(1, len(values) // MOST)]


def _scaled(image: Tensor, inside: Tensor, center: Tensor, deviation: Tensor) -> Tensor:
    out = ((image.float() - center) / deviation.clamp(min=1e-6)).clamp(-FARTHEST, FARTHEST)
    return torch.where(inside, out, 0.0)
