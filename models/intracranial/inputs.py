"""What the network of the cranial cavity sees: an image, and what that of the brain mask finds in it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..population.labels import TISSUES

FARTHEST = 1.5
"""Largest distance to the surface of the brain, in units of the network (10 mm)."""

CHANNELS = 7
"""Image, three coordinates, distance to the brain, fluid, and tissue."""


def inputs(x: Tensor, found: Mapping[str, Tensor]) -> Tensor:
    """Return the input of the network of the cranial cavity, at half the resolution of the brain mask's.

    Parameters
    ----------
    x : Tensor, shape (B, 4, X, Y, Z)
        Image and coordinates.
    found : mapping of str to Tensor
        Outputs ``mask`` (distance first) and ``tissue`` (logits) of the network of the brain mask in ``x``.

    Returns
    -------
    Tensor, shape (B, 7, X/2, Y/2, Z/2)
        Image, coordinates, distance to the surface of the brain in units of 10 mm, and the probabilities of
        fluid and of tissue. The fluid ends at the skull, in any contrast.
    """
    p = found["tissue"].softmax(1)
    fluid = p[:, TISSUES.index("csf")]
    tissue = 1 - fluid - p[:, TISSUES.index("background")]
    distance = found["mask"][:, :1].clamp(-FARTHEST, FARTHEST)
    return F.avg_pool3d(torch.cat([x, distance, fluid[:, None], tissue[:, None]], 1), 2)
