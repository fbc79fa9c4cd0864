"""A probabilistic atlas of the deep structures, from label maps by registration and averaging.

The maps are transformed to the atlas frame by the affine of :mod:`brainseg.training.data.prepare`. Each is
registered to their average; the average is computed again from the warped maps and deformed by the inverse
mean velocity, so that the shape is the mean shape (Guimond et al. 2000). The atlas is symmetric.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.deformation.diffeomorphic import Level, Options, optimize
from ...models.deformation.velocity import exponential
from ...models.deformation.warp import Warp
from ...models.geometry.axes import triple
from ...models.geometry.volume import Grid, Volume, resample
from ...models.population import labels
from ...models.segmentation import deformable_atlas
from ..synthesis.config import GeneratorConfig
from ..synthesis.generator import HeadGenerator

SHAPE, CENTER = (96, 112, 92), (0.0, 4.0, 5.0)
"""Number of voxels (1 mm), and center in the atlas frame (mm)."""

OPTIONS = Options(2.0, (Level(2, 20, 0.5, 3.0, 1.2), Level(1, 8, 0.5, 2.0, 1.2)), 0.8, 8.0)
"""Options of the registration to the average."""


def frame(spacing: float) -> Grid:
    """Return the grid of the atlas at a voxel size (mm)."""
    shape = triple(round(n / spacing) for n in SHAPE)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = np.array(CENTER) - (np.array(shape) - 1) / 2 * spacing
    return Grid(shape, affine)


def learn(path: Path, table: str = "adult", rounds: int = 2, say=print) -> Volume:
    """Return the atlas: probabilities (C, X, Y, Z) in the atlas frame.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.data.prepare.prepare`.
    table : str
        Label table.
    rounds : int
        Number of registrations of every map to the average.
    say : callable
        Called with the progress.
    """
    maps = _maps(path, table)
    small = [resample(one, frame(OPTIONS.spacing)).data for one in maps]
    average = _symmetric(_sum(small) / len(small))
    warps: list[Warp] = []
    for turn in range(rounds):
        velocities = []
        for number, one in enumerate(small, 1):
            velocities.append(optimize(_seen(one), _seen(average), OPTIONS))
            say(f"round {turn + 1}, map {number} of {len(small)}")
        back = -_sum(velocities) / len(velocities)
        back = (back + back.flip(1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)) / 2
        grid = frame(OPTIONS.spacing)
        warps = [Warp(tuple(_field(v, grid) for v in (-back, -velocity))) for velocity in velocities]
        warped = [w.resample(one, grid).data for w, one in zip(warps, maps, strict=True)]
        average = _symmetric(_sum(warped) / len(warped))
    fine = frame(1.0)
    total = _sum(w.resample(one, fine).data for w, one in zip(warps, maps, strict=True))
    found = _symmetric(total / len(maps))
    return Volume(found / found.sum(0).clamp(min=1e-6), fine.affine)


def write(path: Path, data: Path, description: str, license: str, table: str = "adult") -> Path:
    """Compute an atlas and write it with its card.

    Parameters
    ----------
    path : Path
        File to write (npz).
    data : Path
        Arrays from :func:`brainseg.training.data.prepare.prepare`.
    description, license : str
        Description and license of the data, for the card.
    table : str
        Label table.

    Returns
    -------
    Path
        File of the atlas.
    """
    card = {"label_table": table, "training_data": description, "license": license}
    return deformable_atlas.save(path, learn(data, table), card)


def _maps(path: Path, table: str) -> list[Volume]:
    """Return the structures of every map, one channel each, in the atlas frame at 1 mm."""
    generator = HeadGenerator(path, GeneratorConfig())
    unsided = labels.load(table).unsided
    position = torch.tensor([unsided.index(int(i)) for i in generator.source.structure])
    grid, out = frame(1.0), []
    margin = Grid(triple(n + 16 for n in grid.shape), grid.affine @ _shift(-8))
    for labeled, from_atlas in zip(generator.maps, generator.from_atlas, strict=True):
        source = Volume(position[labeled.long()].to(torch.int16), np.eye(4))
        placed = Warp((from_atlas.double().numpy(),)).resample(source, margin, "nearest").data
        # Fluid outside of the brain is not part of the atlas.
        shares = F.one_hot(placed.long(), len(unsided)).movedim(-1, 0).float()
        out.append(Volume(shares, margin.affine))
    return out


def _shift(voxels: float) -> np.ndarray:
    out = np.eye(4)
    out[:3, 3] = voxels
    return out


def _seen(shares: Tensor) -> Tensor:
    """Return the structure maps and a map of the field of view, which is everywhere."""
    return torch.cat([shares[1:], torch.ones_like(shares[:1])])


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return cast(Tensor, sum(parts))


def _symmetric(shares: Tensor) -> Tensor:
    return (shares + shares.flip(1)) / 2


def _field(velocity: Tensor, grid: Grid) -> Volume:
    return Volume(exponential(velocity) * float(grid.spacing[0]), grid.affine)
