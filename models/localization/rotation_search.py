"""Orientation of a brain by search: the rotation in which the tissues best explain its intensities.

A candidate maps the tissues of a template by age to the scan; its score is the share of the intensities'
variance that the tissues explain (the correlation ratio, Roche et al. 1998). This needs no known contrast and
covers all rotations; the best ones are refined by gradient. A coarse network only has to locate the brain.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.volume import Volume, transform_points
from ..templates.age_template import AgeTemplate
from .adam import Adam

ROTATIONS = 1200
"""Number of candidate rotations, about 18 degrees apart."""

KEPT = 16
"""Number of best candidates that are refined."""

POINTS = 3000
"""Number of voxels for the scores."""

STEPS = 60
"""Steps of the refinement."""


def search(image: Volume, brain: Tensor, template: AgeTemplate) -> tuple[np.ndarray, float]:
    """Return the similarity from the image's mm to the atlas frame.

    Parameters
    ----------
    image : Volume
        Coarse image, zero far from the brain.
    brain : Tensor of bool, shape (X, Y, Z)
        Approximate brain, on its grid.
    template : AgeTemplate
        Tissues by age.

    Returns
    -------
    to_atlas : ndarray, shape (4, 4)
        The best similarity.
    explained : float
        Share of the variance explained, 0 to 1.
    """
    size = float(brain.sum()) * image.grid.voxel_volume
    weeks, maps = _age(template, size)
    grown = F.max_pool3d(brain[None, None].float(), 5, 1, 2)[0, 0] > 0
    index = grown.nonzero()
    index = index[torch.linspace(0, len(index) - 1, min(POINTS, len(index))).long()]
    values = image.data[tuple(index.T)].float()
    points = torch.from_numpy(transform_points(image.affine, index.numpy().astype(float))).float()
    own = transform_points(image.affine, brain.nonzero().numpy().astype(float)).mean(0)
    center = torch.from_numpy(own).float()
    scale = math.log(template.scale(weeks))
    rotations = evenly(ROTATIONS)
    offset = _middle(maps, template.spacing)
    flat = (points - center).T * math.exp(scale)
    scores = torch.cat(
        [
            explained(part @ flat + offset[:, None], values, maps, template.spacing)
            for part in rotations.split(100)
        ]
    )
    best = rotations[scores.argsort(descending=True)[:KEPT]]
    turn, shift, size_ = _refine(best, points - center, values, maps, template.spacing, scale, offset)
    moved = _placed(turn, shift, size_, points - center)
    final = explained(moved, values, maps, template.spacing)
    k = int(final.argmax())
    out = np.eye(4)
    out[:3, :3] = (turn[k] * size_[k].exp()).double().numpy()
    out[:3, 3] = shift[k].double().numpy() - out[:3, :3] @ own
    return out, float(final[k])


def evenly(count: int) -> Tensor:
    """Return evenly spread rotations on the super-Fibonacci spiral (Alexa 2022).

    Parameters
    ----------
    count : int
        Number of rotations.

    Returns
    -------
    Tensor, shape (count, 3, 3)
        Rotation matrices.
    """
    phi, psi = math.sqrt(2), 1.533751168755204288118041
    s = torch.arange(count, dtype=torch.float64) + 0.5
    t, d = s / count, 2 * math.pi * s
    r, big = t.sqrt(), (1 - t).sqrt()
    a, b = d / phi, d / psi
    q = torch.stack([r * a.sin(), r * a.cos(), big * b.sin(), big * b.cos()])
    return _matrices(q).float()


def _matrices(q: Tensor) -> Tensor:
    x, y, z, w = q / q.norm(dim=0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _age(template: AgeTemplate, size: float) -> tuple[float, Tensor]:
    """Return the age at which a brain has a volume (mm3), and the tissues at that age in the atlas frame."""
    ages = np.linspace(template.weeks[0], template.weeks[-1], 18)
    sizes = []
    for weeks in ages:
        found = template.at(float(weeks))
        sizes.append(float((found.data[1] < 0.5).sum()) * found.grid.voxel_volume)
    weeks = float(np.interp(size, sizes, ages))
    return weeks, template.at(weeks).data[1:]


def _middle(maps: Tensor, spacing: float) -> Tensor:
    """Return the center of the brain (mm of the atlas frame)."""
    brain = 1 - maps[0]
    out = []
    for axis, n in enumerate(brain.shape):
        line = brain.sum(tuple(a for a in range(3) if a != axis))
        out.append(float((line * (torch.arange(n) - (n - 1) / 2)).sum() / line.sum()) * spacing)
    return torch.tensor(out)


def explained(where: Tensor, values: Tensor, maps: Tensor, spacing: float) -> Tensor:
    """Return the share of the variance of intensities that the tissues explain (correlation ratio).

    Parameters
    ----------
    where : Tensor, shape (B, 3, N)
        Positions (mm) of N voxels in B poses, from the center of the maps.
    values : Tensor, shape (N,)
        Intensities.
    maps : Tensor, shape (C, X, Y, Z)
        Probabilities of the tissues.
    spacing : float
        Voxel size (mm) of the maps.

    Returns
    -------
    Tensor, shape (B,)
        Shares, 0 to 1.
    """
    half = torch.tensor([(n - 1) / 2 * spacing for n in maps.shape[1:]])
    points = (where / half[:, None]).movedim(1, -1).flip(-1)[:, :, None, None]
    repeated = maps[None].expand(len(where), *maps.shape)
    tissue = F.grid_sample(repeated, points, padding_mode="border", align_corners=True)[:, :, :, 0, 0]
    total = tissue.sum(2).clamp(min=1e-3)
    between = ((tissue @ values) ** 2 / total).sum(1) - values.sum() ** 2 / len(values)
    return between / ((values - values.mean()) ** 2).sum()


def _placed(turn: Tensor, shift: Tensor, size: Tensor, points: Tensor) -> Tensor:
    return size.exp()[:, None, None] * (turn @ points.T) + shift[:, :, None]


def _refine(
    turn: Tensor, points: Tensor, values: Tensor, maps: Tensor, spacing: float, scale: float, offset: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Refine all seven parameters of the similarity from every rotation by gradient ascent."""
    maps = F.avg_pool3d(maps[None], 3, 1, 1)[0]
    spin = torch.zeros(len(turn), 3, requires_grad=True)
    move = torch.zeros(len(turn), 3, requires_grad=True)
    grow = torch.zeros(len(turn), requires_grad=True)
    optimizer = Adam([((spin, grow), 0.03), ((move,), 0.06)])
    # A unit of translation is ten millimeters, so that all parameters have about the same effect.
    for _ in range(STEPS):
        where = _placed(matrices_of(spin) @ turn, offset + 10 * move, scale + grow, points)
        optimizer.step(-explained(where, values, maps, spacing).sum())
    with torch.no_grad():
        return matrices_of(spin) @ turn, offset + 10 * move, scale + grow


def matrices_of(spin: Tensor) -> Tensor:
    """Return rotation matrices (B, 3, 3) of rotation vectors (B, 3) in radians."""
    zero = torch.zeros(len(spin))
    x, y, z = spin.T
    skew = torch.stack(
        [torch.stack([zero, -z, y], -1), torch.stack([z, zero, -x], -1), torch.stack([-y, x, zero], -1)], -2
    )
    return torch.linalg.matrix_exp(skew)
