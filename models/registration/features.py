"""Feature maps of a registration: maps of the structures, and intensities if the contrasts agree."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Middle
from ..deformation.velocity import smooth
from ..deformation.warp import Warp
from ..geometry.volume import Grid, Volume
from .result import Anatomy

GROUPS = (
    (2, 41, 192),
    (3, 42),
    (4, 5, 14, 15, 24, 43, 44),
    (7, 46),
    (6, 8, 45, 47),
    (10, 16, 28, 49, 60),
    (9, 11, 12, 13, 26, 48, 50, 51, 52, 58),
    (17, 18, 53, 54),
)
"""Structures (FreeSurfer ids) that share a map; the intensities separate their parts."""

OPPOSITE = ((0, 4), (1, 3), (2, 5), (6, 7))
"""Pairs of groups that share a channel, the second with a negative sign.

Most of them do not touch, so half of the channels give the same squared differences."""

WEIGHTS = (*(0.2,) * len(OPPOSITE), 1.0, 0.6)
"""Weights of the structures' channels, the intensities and the locally normalized intensities."""

WINDOW = 1.5
"""Standard deviation (voxels) of the local normalization's Gaussian."""

LIKE = 0.85
"""Correlation of the structures' mean intensities from which two images have the same contrast."""


def feature_maps(
    moving: Anatomy, fixed: Anatomy, space: Middle, emphasis: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Return the feature maps of two brains in the middle space.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains.
    space : Middle
        Middle space of both.
    emphasis : float
        Weight of the structures' maps.

    Returns
    -------
    moving, fixed : Tensor, shape (C, X, Y, Z)
        Structures, intensities (if comparable) and the field of view.
    """
    images = _matched_images(moving, fixed)
    out = []
    for one, image, place in zip((moving, fixed), images, (space.to_moving, space.to_fixed), strict=True):
        found = diffeomorphic.maps(one.structures, space.grid, place, GROUPS)
        channels = [emphasis * WEIGHTS[0] * torch.stack([found[i] - found[j] for i, j in OPPOSITE])]
        if image is not None:
            channels += _intensities(image, one.mask, space.grid, place)
        out.append(torch.cat([*channels, found[-1:]]))
    return out[0], out[1]


def _matched_images(moving: Anatomy, fixed: Anatomy) -> tuple[Volume | None, Volume | None]:
    """Return images of one contrast: the originals, images from tissue probabilities, or None."""
    if same_contrast(moving, fixed):
        return moving.image, fixed.image
    if not moving.probabilities or not fixed.probabilities:
        return None, None
    level = {"CSF": 0.15, "GM": 0.65, "WM": 1.0}
    made = []
    for one in (moving, fixed):
        total = sum(level[name] * volume.data.float() for name, volume in one.probabilities.items())
        made.append(one.image.with_data(cast(Tensor, total)))
    return made[0], made[1]


def same_contrast(moving: Anatomy, fixed: Anatomy) -> bool:
    """Return whether the structures' mean intensities correlate between two images.

    Parameters
    ----------
    moving, fixed : Anatomy
        Two brains.

    Returns
    -------
    bool
        Whether the correlation exceeds ``LIKE``.
    """
    means = [_means(one) for one in (moving, fixed)]
    shared = sorted(set(means[0]) & set(means[1]))
    if len(shared) < 4:
        return False
    first, second = (np.array([mean[i] for i in shared]) for mean in means)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return False
    return bool(np.corrcoef(first, second)[0, 1] > LIKE)


def _means(one: Anatomy) -> dict[int, float]:
    labels = one.structures.data.flatten()[::7].long()
    values = one.image.data.flatten()[::7].double()
    size = int(labels.max()) + 1
    count = torch.bincount(labels, minlength=size)
    total = torch.bincount(labels, weights=values, minlength=size)
    return {i: float(total[i] / count[i]) for i in range(1, size) if count[i] >= 30}


def _intensities(volume: Volume, mask: Volume, grid: Grid, place: np.ndarray) -> list[Tensor]:
    """Return intensities in the brain, global and locally normalized, weighted, each (1, X, Y, Z)."""
    inside = mask.data > 0
    warp = Warp((place,))
    image = warp.resample(volume.with_data(volume.data * inside), grid).data
    brain = warp.resample(mask.with_data(inside.float()), grid).data
    return [weight * c for weight, c in zip(WEIGHTS[-2:], intensities(image, brain), strict=True)]


def intensities(image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Return intensities in the brain, globally and locally normalized.

    Parameters
    ----------
    image : Tensor, shape (X, Y, Z)
        Intensities, zero outside the brain.
    brain : Tensor, shape (X, Y, Z)
        Share of the brain in every voxel.

    Returns
    -------
    plain, local : Tensor, shape (1, X, Y, Z)
        Global and local normalization.
    """
    values = image[brain > 0.9]
    top = torch.quantile(values[:: max(1, len(values) // 200_000)], 0.98) if len(values) else image.max()
    image = (image / top.clamp(min=1e-6)).clamp(0, 1.3)
    share = smooth(brain[None], WINDOW)[0].clamp(min=1e-3)
    mean = smooth((image * brain)[None], WINDOW)[0] / share
    spread = (smooth((image * image * brain)[None], WINDOW)[0] / share - mean * mean).clamp(min=0).sqrt()
    return image[None], ((image - mean) / (spread + 0.03) * brain)[None]


def network_input(maps: Tensor, inputs: int) -> Tensor:
    """Return the input of a network: the groups' maps and the intensities, unweighted.

    Parameters
    ----------
    maps : Tensor, shape (C, X, Y, Z)
        Feature maps, with or without intensities.
    inputs : int
        Number of the network's input channels.

    Returns
    -------
    Tensor, shape (inputs, X, Y, Z)
        Input; missing channels are zero.
    """
    plain = maps[:-1] / torch.tensor(WEIGHTS[: len(maps) - 1]).view(-1, 1, 1, 1)
    out = torch.zeros(inputs, *maps.shape[1:])
    for channel, (first, second) in zip(plain, OPPOSITE, strict=False):
        out[first], out[second] = channel.clamp(min=0), (-channel).clamp(min=0)
    rest = plain[len(OPPOSITE) :]
    out[len(GROUPS) : len(GROUPS) + len(rest)] = rest
    return out
