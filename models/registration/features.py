"""What a registration matches: maps of the structures, and the images where their contrasts agree."""

from __future__ import annotations

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
"""Structures (FreeSurfer ids) that are matched as one; the intensities tell their parts apart."""

OPPOSITE = ((0, 4), (1, 3), (2, 5), (6, 7))
"""Groups whose maps are one channel, the second with a minus: nearly all of them touch nowhere, so that the
squared differences stay what they are with half of the channels."""

WEIGHTS = (*(0.2,) * len(OPPOSITE), 1.0, 0.6)
"""Weights of the structures' channels, the intensities and the locally normalized intensities."""

WINDOW = 1.5
"""Gaussian (voxels) of the local normalization."""

LIKE = 0.85
"""Correlation of the structures' mean intensities from which two images have the same contrast."""


def stacks(moving: Anatomy, fixed: Anatomy, space: Middle, emphasis: float = 1.0) -> tuple[Tensor, Tensor]:
    """What the optimisation matches: maps of structures (by ``emphasis``), intensities, the field of view."""
    pictures = _pictures(moving, fixed)
    out = []
    for one, picture, place in zip((moving, fixed), pictures, (space.to_moving, space.to_fixed), strict=True):
        found = diffeomorphic.maps(one.structures, space.grid, place, GROUPS)
        channels = [emphasis * WEIGHTS[0] * torch.stack([found[i] - found[j] for i, j in OPPOSITE])]
        if picture is not None:
            channels += _intensities(picture, one.mask, space.grid, place)
        out.append(torch.cat([*channels, found[-1:]]))
    return out[0], out[1]


def _pictures(moving: Anatomy, fixed: Anatomy) -> tuple[Volume | None, Volume | None]:
    """The images if their contrasts agree, else what the tissues make of both, else none."""
    if same_contrast(moving, fixed):
        return moving.image, fixed.image
    if not moving.probabilities or not fixed.probabilities:
        return None, None
    level = {"CSF": 0.15, "GM": 0.65, "WM": 1.0}
    made = []
    for one in (moving, fixed):
        total = sum(level[name] * volume.data.float() for name, volume in one.probabilities.items())
        made.append(one.image.with_data(total))
    return made[0], made[1]


def same_contrast(moving: Anatomy, fixed: Anatomy) -> bool:
    """Whether the structures' mean intensities go together in both images."""
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


def _intensities(picture: Volume, mask: Volume, grid: Grid, place: np.ndarray) -> list[Tensor]:
    """Intensities in the brain, as they are and locally normalized, weighted, each (1, X, Y, Z)."""
    inside = mask.data > 0
    warp = Warp((place,))
    image = warp.resample(picture.with_data(picture.data * inside), grid).data
    brain = warp.resample(mask.with_data(inside.float()), grid).data
    return [weight * c for weight, c in zip(WEIGHTS[-2:], intensities(image, brain), strict=True)]


def intensities(image: Tensor, brain: Tensor) -> tuple[Tensor, Tensor]:
    """Intensities in the brain, as they are and locally normalized, each (1, X, Y, Z).

    Parameters
    ----------
    image : Tensor, shape (X, Y, Z)
        Zero outside of the brain.
    brain : Tensor, shape (X, Y, Z)
        Share of the brain in every voxel.
    """
    values = image[brain > 0.9]
    top = torch.quantile(values[:: max(1, len(values) // 200_000)], 0.98) if len(values) else image.max()
    image = (image / top.clamp(min=1e-6)).clamp(0, 1.3)
    share = smooth(brain[None], WINDOW)[0].clamp(min=1e-3)
    mean = smooth((image * brain)[None], WINDOW)[0] / share
    spread = (smooth((image * image * brain)[None], WINDOW)[0] / share - mean * mean).clamp(min=0).sqrt()
    return image[None], ((image - mean) / (spread + 0.03) * brain)[None]


def network_input(stack: Tensor, inputs: int) -> Tensor:
    """What a network sees of a stack: the groups' maps and the intensities, unweighted.

    Channels that the stack lacks, intensities that cannot be compared, are zero.
    """
    plain = stack[:-1] / torch.tensor(WEIGHTS[: len(stack) - 1]).view(-1, 1, 1, 1)
    out = torch.zeros(inputs, *stack.shape[1:])
    for channel, (first, second) in zip(plain, OPPOSITE, strict=False):
        out[first], out[second] = channel.clamp(min=0), (-channel).clamp(min=0)
    rest = plain[len(OPPOSITE) :]
    out[len(GROUPS) : len(GROUPS) + len(rest)] = rest
    return out
