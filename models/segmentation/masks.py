"""Operations on brain masks."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..geometry.regions import filled
from ..geometry.volume import Volume, normalize, resample

SHELL = (10.0, 25.0)
"""Distances (mm) from the brain's surface between which a head has skull and scalp."""

BRIGHT, EMPTY = 0.15, 0.02
"""Intensity of tissue, relative to the brain's median, and the share of the shell below which it is empty."""


def is_stripped(volume: Volume, distance: Volume) -> bool:
    """Return whether a scan is skull-stripped.

    Parameters
    ----------
    volume : Volume
        The scan.
    distance : Volume, float32
        Approximate signed distance to the brain's surface (mm), positive inside, on a coarse grid.

    Returns
    -------
    bool
        Whether the scan has no skull, scalp or neck.
    """
    image = normalize(resample(volume, distance.grid).data)
    inside = distance.data > 3
    # Networks clip the distance, so the shell is measured from the surface itself.
    near = ndimage.distance_transform_edt(~(distance.data > 0).numpy(), distance.grid.spacing)
    shell = torch.from_numpy((near > SHELL[0]) & (near < SHELL[1]))
    shell &= resample(volume.with_data(torch.ones(volume.grid.shape)), distance.grid).data > 0.5
    if not bool(inside.any()) or not bool(shell.any()):
        return False
    level = BRIGHT * float(image[inside].median())
    return float((image[shell] > level).float().mean()) < EMPTY


def extent(volume: Volume) -> np.ndarray:
    """Return the foreground of a skull-stripped scan, without holes and specks.

    Parameters
    ----------
    volume : Volume
        The scan.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        Foreground.
    """
    data = volume.data.numpy()
    background = np.median(np.concatenate([data[:2].ravel(), data[-2:].ravel(), data[:, :2].ravel()]))
    level = background + 0.02 * (np.quantile(data, 0.995) - background)
    return tidy(torch.from_numpy(data > level))


def tidy(mask: Tensor) -> np.ndarray:
    """Return the largest component of a mask with its holes filled.

    Parameters
    ----------
    mask : Tensor of bool, shape (X, Y, Z)
        Mask.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The component.
    """
    return filled(largest(mask.numpy()))


def largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest component of a mask (6-connected).

    Parameters
    ----------
    mask : ndarray of bool, shape (X, Y, Z)
        Mask.

    Returns
    -------
    ndarray of bool, shape (X, Y, Z)
        The component.
    """
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
