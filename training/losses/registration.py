"""Losses of registration networks: similarity of two warped brains and smoothness of the warp.

Tensors have no batch axis: maps and images are (C, X, Y, Z), velocities and displacements (3, X, Y, Z) in
voxels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.velocity import jacobian

Loss = Callable[[Tensor, Tensor], Tensor]


def dice(a: Tensor, b: Tensor, least: float = 4.0) -> Tensor:
    """Return one minus the mean soft Dice of the classes with at least ``least`` voxels in both."""
    overlap = 2 * (a * b).flatten(1).sum(1)
    size = (a * a).flatten(1).sum(1) + (b * b).flatten(1).sum(1)
    there = (a.flatten(1).sum(1) >= least) & (b.flatten(1).sum(1) >= least)
    if not bool(there.any()):
        return overlap.sum() * 0
    return 1 - (overlap[there] / size[there].clamp(min=1e-6)).mean()


def hard(a: Tensor, b: Tensor, steep: float = 15.0) -> Tensor:
    """Return :func:`dice` of maps that a steep sigmoid makes nearly binary.

    Interpolation blurs label maps, and the overlap of blurred maps is insensitive to shifts of half a voxel,
    which are a tenth of the Dice of a structure of a few voxels.
    """
    return dice(torch.sigmoid((a - 0.5) * steep), torch.sigmoid((b - 0.5) * steep))


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared difference."""
    return ((a - b) ** 2).mean()


def _mean(x: Tensor, size: int) -> Tensor:
    """Return the mean over cubes of ``size`` voxels, without voxels outside the image."""
    out = x[None]
    for axis in range(3):  # one axis after the other: a fraction of the sums
        window, pad = [1, 1, 1], [0, 0, 0]
        window[axis], pad[axis] = size, size // 2
        out = F.avg_pool3d(out, window, stride=1, padding=pad, count_include_pad=False)
    return out[0]


def ncc(a: Tensor, b: Tensor, size: int = 9) -> Tensor:
    """Return one minus the mean squared correlation in cubes of ``size`` voxels (Balakrishnan 2019)."""
    mean_a, mean_b = _mean(a, size), _mean(b, size)
    both = _mean(a * b, size) - mean_a * mean_b
    spread_a = (_mean(a * a, size) - mean_a**2).clamp(min=0)
    spread_b = (_mean(b * b, size) - mean_b**2).clamp(min=0)
    seen = (spread_a * spread_b) > 1e-8
    found = both**2 / (spread_a * spread_b).clamp(min=1e-8)
    return 1 - found[seen].clamp(max=1).mean() if bool(seen.any()) else both.sum() * 0


def ssim(a: Tensor, b: Tensor, size: int = 7) -> Tensor:
    """Return one minus the mean structural similarity of images in [0, 1] (Wang et al. 2004)."""
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
    """Return the mean squared gradient."""
    return torch.stack([(_slope(velocity, axis) ** 2).mean() for axis in (1, 2, 3)]).mean()


def bending(velocity: Tensor) -> Tensor:
    """Return the mean squared second derivative, including mixed ones (Rueckert et al. 1999)."""
    total = velocity.new_zeros(())
    for i in (1, 2, 3):
        for j in range(i, 4):
            part = (_slope(_slope(velocity, i), j) ** 2).mean()
            total = total + (part if i == j else 2 * part)
    return total / 9


def folding(displacement: Tensor, least: float = 0.2) -> Tensor:
    """Return the mean amount by which the Jacobian determinant is below ``least``."""
    return F.relu(least - jacobian(displacement)).mean()


OF_LABELS: dict[str, Loss] = {"dice": dice, "hard": hard}
"""Losses of two warped label maps."""

ALIKE: dict[str, Loss] = {**OF_LABELS, "mse": mse, "ncc": ncc, "ssim": ssim}
"""Losses of two warped label maps or images."""

SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {
    "gradient": gradient,
    "bending": bending,
    "jacobian": folding,
}
"""Losses of the velocity; ``jacobian`` is a loss of its flow."""

NAMES = (*ALIKE, *SMOOTH)


def all_of(
    weights: dict[str, float],
    labels: tuple[Tensor, Tensor],
    images: tuple[Tensor, Tensor],
    velocity: Tensor,
    flow: Tensor,
) -> dict[str, Tensor]:
    """Return every weighted loss by name.

    Parameters
    ----------
    weights : dict of str to float
        Weights by name, from :data:`NAMES`.
    labels, images : tuple of Tensor
        Label maps and images of both brains, warped to the middle space.
    velocity, flow : Tensor, shape (3, X, Y, Z)
        Velocity and its displacement.

    Raises
    ------
    ValueError
        If a loss is unknown.
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
