"""Brain mask of T1-weighted scans by a network trained on thousands of them (deepbet; Fisch et al. 2024).

The network sees the brain's box, stretched to a cube, as in its training. The box is upright in the atlas
frame, so that the position of the head does not matter. Scans are recognized by their intensities, not by
their name: white matter is brighter than gray matter, which is brighter than fluid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..geometry.volume import Grid, Volume, resample, transform_points
from ..localization.head import Coarse
from ..networks import zoo
from ..networks.inference import run

MARGIN = 0.1
"""Margin around the coarse brain's box, relative to its size, as in training."""

SIDE = 256
"""Voxels along every side of the cube."""

TAILS = (0.005, 0.995)
"""Quantiles of the whole image that become 0 and 1."""

MEAN, SPREAD = 0.449, 0.226
"""Mean and standard deviation of the network's input."""

CONTRAST = 0.04
"""Smallest difference of the tissues' mean intensities, relative to the image's range."""

LEAST_OVERLAP = 0.85
"""Dice coefficient with the coarse brain below which the mask is not used."""

WHITE, GRAY, FLUID = 2, 3, 4
"""FreeSurfer ids of the tissues that are compared."""


def is_t1w(volume: Volume, coarse: Coarse, structures: tuple[int, ...]) -> bool:
    """Return whether white matter is brighter than gray matter, and gray matter brighter than fluid.

    Parameters
    ----------
    volume : Volume
        The scan.
    coarse : Coarse
        Result of the coarse network.
    structures : tuple of int
        FreeSurfer ids (without side) of its structures.

    Returns
    -------
    bool
        Whether the contrast is that of a T1-weighted scan.
    """
    image = resample(volume.canonical(), coarse.structures.grid).data
    low, high = _range(volume.data)
    levels = []
    for index in (WHITE, GRAY, FLUID):
        weight = coarse.structures.data[structures.index(index)] ** 2
        levels.append(float((image * weight).sum() / weight.sum().clamp(min=1e-3)))
    white, gray, fluid = ((level - low) / max(high - low, 1e-6) for level in levels)
    return white - gray > CONTRAST and gray - fluid > CONTRAST


def probability(
    volume: Volume, coarse: Coarse, model: str, device: str, notes: list[str] | None = None
) -> Volume:
    """Return the probability of brain in the box of the coarse brain.

    Parameters
    ----------
    volume : Volume
        T1-weighted scan.
    coarse : Coarse
        Result of the coarse network.
    model : str
        Weights.
    device : str
        Device of the network.
    notes : list of str, optional
        Notes on the results are appended.

    Returns
    -------
    Volume, float32, shape (256, 256, 256)
        Probability, on a grid that is upright in the atlas frame.
    """
    loaded = zoo.load_once(model, device)
    grid = _cube(coarse)
    image = resample(volume.canonical(), grid).data
    low, high = _range(volume.data)
    image = ((image - low) / max(high - low, 1e-6)).clamp(0, 1)
    image = (image - image.mean()) / image.std().clamp(min=1e-6) * SPREAD + MEAN
    none = torch.empty(0, *grid.shape)
    logits = run(loaded.network, image, none, device=device, notes=notes)["mask"]
    return Volume((logits[1] - logits[0]).sigmoid(), grid.affine)


def agrees(found: Volume, coarse: Coarse) -> bool:
    """Return whether a mask fits the coarse brain.

    Parameters
    ----------
    found : Volume
        Result of :func:`probability`.
    coarse : Coarse
        Result of the coarse network.

    Returns
    -------
    bool
        Whether their Dice coefficient is at least :data:`LEAST_OVERLAP`.
    """
    here, there = resample(found, coarse.distance.grid).data > 0.5, coarse.distance.data > 0
    shared = float((here & there).sum())
    return 2 * shared >= LEAST_OVERLAP * float(here.sum() + there.sum())


def _range(data: Tensor) -> tuple[float, float]:
    """Return low and high intensity of a whole image."""
    step = max(1, data.numel() // 2_000_000)
    low, high = torch.quantile(data.reshape(-1)[::step].float(), torch.tensor(TAILS))
    return float(low), float(high)


def _cube(coarse: Coarse) -> Grid:
    """Return the grid of the brain's box with its margin, upright in the atlas frame."""
    u, _, vt = np.linalg.svd(coarse.to_atlas[:3, :3])
    turn = u @ vt
    inside = np.argwhere(coarse.distance.data.numpy() > 0)
    points = transform_points(coarse.distance.affine, inside) @ turn.T
    low, high = points.min(0), points.max(0)
    size = (high - low + coarse.distance.grid.spacing) * (1 + 2 * MARGIN)
    step = size / SIDE
    first = (low + high) / 2 - step * (SIDE - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = turn.T * step
    affine[:3, 3] = turn.T @ first
    return Grid((SIDE, SIDE, SIDE), affine)
