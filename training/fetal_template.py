"""A template of the growing brain: image and tissue probabilities as functions of gestational age.

Subjects are brought to the atlas frame, where every brain has one length, and averaged with weights that
fall with the distance in age; then each is registered to the average of its age, the averages are taken
again from the warped subjects, and moved back by the mean velocity, so that the shape is the mean one as
well (Guimond et al. 2000, with kernel weights in age as Davis et al. 2010). Left and right are made alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import labels
from ..models.diffeomorphic import Level, Options, optimise
from ..models.growing import LENGTH, Growing
from ..models.velocity import exponential, identity, sample
from .fetal import read_table

GRID, SPACING = (46, 54, 46), 2.0
"""Voxels, and their size in the atlas frame (mm)."""

NODES = (21.0, 23.0, 25.0, 27.0, 29.0, 31.0, 33.0, 35.0, 37.0, 38.0)
"""Ages (weeks) between which the template is interpolated."""

WIDTH = 0.8
"""Deviation (weeks) of the weights in age."""

OPTIONS = Options(SPACING, (Level(2, 12, 0.7, 6.0, 2.0), Level(1, 6, 0.7, 4.0, 1.5)), 0.8, 6.0)
"""How subjects are registered to the average."""


@dataclass
class Subject:
    """A subject in the atlas frame: image and tissue shares, (1 + C, X, Y, Z), its age and length (mm)."""

    maps: Tensor
    weeks: float
    length: float


def subjects(path: Path, table: str = "fetal", leave_out: str = "sub-sb") -> list[Subject]:
    """Prepared subjects (:func:`brainseg.training.fetal.prepare`) and their mirror images on the grid.

    Parameters
    ----------
    path : Path
        Prepared arrays.
    table : str
        Label table of the tissues.
    leave_out : str
        Subjects whose names begin so do not take part: a template of typical growth.
    """
    unsided = labels.load(table).unsided
    position = np.array([unsided.index(int(i)) for i in read_table()["structure"]])
    axes = [(torch.arange(n) - (n - 1) / 2) * SPACING for n in GRID]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    out = []
    with np.load(path) as arrays:
        meta = json.loads(str(arrays["meta"]))
        for k, name in enumerate(meta["names"]):
            if name.startswith(leave_out):
                continue
            tissue = torch.from_numpy(position[arrays[f"labels{k}"]]).long()
            image = torch.from_numpy(arrays[f"image{k}"]).float()
            white, fluid = (image[tissue == unsided.index(i)].median() for i in (2, 24))
            image = (0.5 + 0.5 * (image - white) / (fluid - white)).clamp(0, 1.5) * (tissue > 0)
            stack = torch.cat([image[None], F.one_hot(tissue, len(unsided)).movedim(-1, 0)])
            smooth = F.avg_pool3d(stack[None], 3, 1, 1)[0]
            matrix = torch.from_numpy(np.linalg.inv(arrays[f"atlas{k}"])).float()
            where = (matrix[:3, :3] @ points + matrix[:3, 3:]).view(3, *GRID)
            maps = sample(smooth, where, "zeros")
            maps[1] += 1 - maps[1:].sum(0)
            length = LENGTH / float(arrays[f"scale{k}"])
            out += [Subject(m, meta["weeks"][k], length) for m in (maps, maps.flip(1))]
    return out


def learn(path: Path, rounds: int = 2, say=print) -> Growing:
    """Learn the template.

    Parameters
    ----------
    path : Path
        Prepared subjects.
    rounds : int
        Registrations of every subject to the average of its age.
    """
    people = subjects(path)
    ages = torch.tensor([p.weeks for p in people])
    warped = [p.maps for p in people]
    index = identity(GRID, people[0].maps)
    average = [_mean(warped, ages, node) for node in NODES]
    for turn in range(rounds):
        velocities: list[Tensor] = []
        # The mirror image of a subject moves as the subject does, mirrored.
        for number in range(0, len(people), 2):
            fixed = _between(average, people[number].weeks)
            velocity = optimise(people[number].maps[1:], fixed[1:], OPTIONS)
            mirrored = velocity.flip(1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)
            velocities += [velocity, mirrored]
            say(f"round {turn + 1}, subject {number // 2 + 1} of {len(people) // 2}")
        warped = [sample(p.maps, index + exponential(-v)) for p, v in zip(people, velocities, strict=True)]
        average = []
        for node in NODES:
            back = exponential(_mean(velocities, ages, node))
            average.append(sample(_mean(warped, ages, node), index + back))
    lengths = np.polynomial.Polynomial.fit(ages.numpy(), [p.length for p in people], 2).convert()
    return Growing(torch.stack(average), NODES, SPACING, tuple(lengths.coef.tolist()))


def _mean(values: list[Tensor], ages: Tensor, node: float) -> Tensor:
    """Mean with weights by age, its age that of the node: a straight line in age is fitted."""
    weight = torch.exp(-0.5 * ((ages - node) / WIDTH) ** 2)
    weight = torch.where(weight > 1e-3, weight, 0.0)
    away = ages - node
    s0, s1, s2 = weight.sum(), (weight * away).sum(), (weight * away**2).sum()
    # Local linear regression: at the ends of the range a plain mean would lag behind.
    share = weight * (s2 - s1 * away) / (s0 * s2 - s1**2).clamp(min=1e-6)
    share = share if bool((share > -0.2).all()) else weight / s0
    return sum(s * v for s, v in zip(share, values, strict=True) if float(s) != 0.0)


def _between(average: list[Tensor], weeks: float) -> Tensor:
    above = int(np.searchsorted(NODES, weeks).clip(1, len(NODES) - 1))
    share = (weeks - NODES[above - 1]) / (NODES[above] - NODES[above - 1])
    return (1 - share) * average[above - 1] + share * average[above]
