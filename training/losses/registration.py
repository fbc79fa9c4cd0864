"""Losses of a registration: how alike two warped brains are, and how smooth the warp is.

Tensors have no batch axis: maps and images are (C, X, Y, Z), velocities and displacements (3, X, Y, Z) in
voxels. A recipe names any of them with a weight.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.velocity import jacobian


def dice(a: Tensor, b: Tensor, least: float = 4.0) -> Tensor:
    """One minus the mean soft Dice of the classes that fill at least ``least`` voxels in both."""
    overlap = 2 * (a * b).flatten(1).sum(1)
    size = (a * a).flatten(1).sum(1) + (b * b).flatten(1).sum(1)
    there = (a.flatten(1).sum(1) >= least) & (b.flatten(1).sum(1) >= least)
    if not bool(there.any()):
        return overlap.sum() * 0
    return 1 - (overlap[there] / size[there].clamp(min=1e-6)).mean()


def hard(a: Tensor, b: Tensor, steep: float = 15.0) -> Tensor:
    """The same of maps as good as hard: what two labels overlap once each voxel has one.

    Interpolation blurs maps of labels, and the overlap of blurred maps hardly sees half of a voxel; of a
    structure a few voxels thick that is a tenth of its Dice.
    """
    return dice(torch.sigmoid((a - 0.5) * steep), torch.sigmoid((b - 0.5) * steep))


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference."""
    return ((a - b) ** 2).mean()


def _mean(x: Tensor, size: int) -> Tensor:
    """Mean over cubes, what lies beyond the edge left out."""
    out = x[None]
    for axis in range(3):  # one axis after the other: a fraction of the sums
        window, pad = [1, 1, 1], [0, 0, 0]
        window[axis], pad[axis] = size, size // 2
        out = F.avg_pool3d(out, window, stride=1, padding=pad, count_include_pad=False)
    return out[0]


def ncc(a: Tensor, b: Tensor, size: int = 9) -> Tensor:
    """One minus the mean squared correlation in cubes of ``size`` voxels (VoxelMorph, Balakrishnan 2019)."""
    mean_a, mean_b = _mean(a, size), _mean(b, size)
    both = _mean(a * b, size) - mean_a * mean_b
    spread_a = (_mean(a * a, size) - mean_a**2).clamp(min=0)
    spread_b = (_mean(b * b, size) - mean_b**2).clamp(min=0)
    seen = (spread_a * spread_b) > 1e-8
    found = both**2 / (spread_a * spread_b).clamp(min=1e-8)
    return 1 - found[seen].clamp(max=1).mean() if bool(seen.any()) else both.sum() * 0


def ssim(a: Tensor, b: Tensor, size: int = 7) -> Tensor:
    """One minus the mean structural similarity of images in [0, 1] (Wang et al. 2004)."""
    mean_a, mean_b = _mean(a, size), _mean(b, size)
    spread_a, spread_b = _mean(a * a, size) - mean_a**2, _mean(b * b, size) - mean_b**2
    both = _mean(a * b, size) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    found = ((2 * mean_a * mean_b + c1) * (2 * both + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2)
    )
    return 1 - found.mean()


def _slope(x: Tensor, axis: int) -> Tensor:
    return x.diff(dim=axis)


def gradient(velocity: Tensor) -> Tensor:
    """Mean squared slope."""
    return torch.stack([(_slope(velocity, axis) ** 2).mean() for axis in (1, 2, 3)]).mean()


def bending(velocity: Tensor) -> Tensor:
    """Mean squared second derivative, mixed ones included (Rueckert et al. 1999)."""
    total = velocity.new_zeros(())
    for i in (1, 2, 3):
        for j in range(i, 4):
            part = (_slope(_slope(velocity, i), j) ** 2).mean()
            total = total + (part if i == j else 2 * part)
    return total / 9


def folding(displacement: Tensor, least: float = 0.2) -> Tensor:
    """How far the determinant of the Jacobian falls below ``least``, mean over the voxels."""
    return F.relu(least - jacobian(displacement)).mean()


OF_LABELS = {"dice": dice, "hard": hard}
"""Losses of two warped sets of labels."""

ALIKE = {**OF_LABELS, "mse": mse, "ncc": ncc, "ssim": ssim}
"""Losses of two warped things: labels, intensities for the others."""

SMOOTH = {"gradient": gradient, "bending": bending, "jacobian": folding}
"""Losses of the velocity; ``jacobian`` of its flow."""

NAMES = (*ALIKE, *SMOOTH)


def all_of(
    weights: dict[str, float],
    labels: tuple[Tensor, Tensor],
    images: tuple[Tensor, Tensor],
    velocity: Tensor,
    flow: Tensor,
) -> dict[str, Tensor]:
    """Every weighted loss.

    Parameters
    ----------
    weights : dict of str to float
        By name, from :data:`NAMES`.
    labels, images : tuple of Tensor
        Of both brains, warped to the middle.
    velocity, flow : Tensor, shape (3, X, Y, Z)
        The velocity and its displacement.

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name in ALIKE:
            found[name] = weight * ALIKE[name](*(labels if name in OF_LABELS else images))
        elif name in SMOOTH:
            found[name] = weight * SMOOTH[name](flow if name == "jacobian" else velocity)
        else:
            raise ValueError(f"unknown loss {name!r}; known are {', '.join(NAMES)}")
    return {k: torch.as_tensor(v) for k, v in found.items()}
