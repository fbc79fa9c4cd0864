"""Paths between brains: interpolation between the weeks of an atlas and between families of atlases.

Neighbors are registered in the atlas frame. A subject deformed by a part of the velocity field is a brain of
an age between both, or with ventricles and outer CSF between those of two families.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.diffeomorphic import Level, Options, optimize
from ...models.deformation.velocity import exponential
from ...models.geometry.trilinear import sample

GRID, SPACING = (46, 54, 46), 2.0
"""Number of voxels, and voxel size in the atlas frame (mm)."""

OPTIONS = Options(SPACING, (Level(2, 12, 0.7, 6.0, 2.0), Level(1, 6, 0.7, 4.0, 1.5)), 0.8, 6.0)
"""Options of the registration."""


def family(name: str) -> str:
    """Return the family of atlases of a subject: its name without the age.

    Examples
    --------
    >>> family("sub-sb25op"), family("sub-wu24")
    ('sub-sbop', 'sub-wu')
    """
    return "".join(c for c in name if not c.isdigit())


def pairs(names: list[str], weeks: list[float]) -> list[tuple[int, int]]:
    """Return the pairs of subjects between which there are paths.

    They are neighbors in age in every family, and every subject outside the largest family with the nearest
    in age in it.

    Parameters
    ----------
    names : list of str
        Names of the subjects.
    weeks : list of float
        Gestational ages.
    """
    families: dict[str, list[int]] = {}
    for number in sorted(range(len(names)), key=lambda k: weeks[k]):
        families.setdefault(family(names[number]), []).append(number)
    out = [pair for own in families.values() for pair in pairwise(own)]
    largest = max(families.values(), key=len)
    others = [k for own in families.values() if own is not largest for k in own]
    return out + [(k, min(largest, key=lambda n: abs(weeks[n] - weeks[k]))) for k in others]


def on_grid(arrays: Mapping[str, np.ndarray], number: int, stack: Tensor) -> Tensor:
    """Return maps on the voxels of a prepared subject, smoothed and resampled to the grid.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    number : int
        Number of the subject.
    stack : Tensor, shape (C, x, y, z)
        Maps.
    """
    axes = [(torch.arange(n) - (n - 1) / 2) * SPACING for n in GRID]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    matrix = torch.from_numpy(np.linalg.inv(arrays[f"atlas{number}"])).float()
    where = (matrix[:3, :3] @ points + matrix[:3, 3:]).view(3, *GRID)
    return sample(F.avg_pool3d(stack[None].float(), 3, 1, 1)[0], where, "zeros")


def shares(arrays: Mapping[str, np.ndarray], number: int, position: np.ndarray, count: int) -> Tensor:
    """Return the structure maps of a prepared subject on the grid, background first, shape (C, X, Y, Z).

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    number : int
        Number of the subject.
    position : ndarray of int
        Structure of every source label.
    count : int
        Number of structures, with the background.
    """
    onehot = F.one_hot(torch.from_numpy(position[arrays[f"labels{number}"]]).long(), count).movedim(-1, 0)
    maps = on_grid(arrays, number, onehot)
    maps[0] += 1 - maps.sum(0)
    return maps


def find(
    arrays: Mapping[str, np.ndarray], wanted: list[tuple[int, int]], structure: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the velocities (voxels) from the first to the second subject of each pair as ``path0``, ...

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    wanted : list of tuple of int
        Pairs of subjects.
    structure : ndarray of int
        Structure of every source label.
    """
    kinds = np.unique(structure)
    position = np.searchsorted(kinds, structure)
    maps = {k: shares(arrays, k, position, len(kinds)) for k in {k for pair in wanted for k in pair}}
    seen = torch.ones(1, *GRID)
    out = {}
    for number, (a, b) in enumerate(wanted):
        moving, fixed = (torch.cat([maps[k][1:], seen]) for k in (a, b))
        out[f"path{number}"] = optimize(moving, fixed, OPTIONS).numpy().astype(np.float16)
    return out


class Paths:
    """The paths of prepared arrays.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays with ``path0``, ...
    pairs : list of pairs of int
        First and second subject of each path.
    device : torch.device
        Device of the computations.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], pairs: list[tuple[int, int]], device: torch.device
    ) -> None:
        self.ways: dict[int, list[tuple[Tensor, float]]] = {}
        for number, (a, b) in enumerate(pairs):
            velocity = torch.from_numpy(arrays[f"path{number}"].astype(np.float32)).to(device)
            self.ways.setdefault(a, []).append((velocity, -1.0))
            self.ways.setdefault(b, []).append((velocity, 1.0))

    def along(self, number: int, points: Tensor, share: float) -> Tensor:
        """Return the positions in a subject of points of a brain on a random path from it.

        Parameters
        ----------
        number : int
            Number of the subject.
        points : Tensor, shape (3, N)
            Atlas coordinates (mm) in the interpolated brain.
        share : float
            Position on the path, from 0 (the subject) to 1.
        """
        ways = self.ways.get(number, [])
        if not ways:
            return points
        velocity, sign = ways[int(torch.randint(len(ways), ()))]
        flow = exponential(sign * share * velocity) * SPACING
        half = torch.tensor([(n - 1) / 2 for n in GRID], device=points.device)[:, None]
        index = points / SPACING + half
        return points + sample(flow, index[:, :, None, None])[:, :, 0, 0]
