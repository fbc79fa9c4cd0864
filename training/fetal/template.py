"""A template of the growing brain: image and tissue probabilities as functions of gestational age.

Subjects are transformed to the atlas frame, where every brain has the same length, and averaged with weights
that decrease with the difference in age. Each subject is then registered to the average of its age; the
averages are computed again from the warped subjects and deformed by the inverse mean velocity, so that the
shape is the mean shape (Guimond et al. 2000, with kernel weights in age as in Davis et al. 2010). The result
is symmetric.

A family of atlases with one brain every other week is a template of its own at the ages of its atlases,
interpolated along the velocity from one to the next.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...models.deformation.diffeomorphic import optimize
from ...models.deformation.velocity import exponential, identity
from ...models.geometry.trilinear import sample
from ...models.population import labels
from ...models.templates import age_template
from ...models.templates.age_template import LENGTH, AgeTemplate
from .interpolation import GRID, OPTIONS, SPACING, family, on_grid, shares
from .source_labels import read_table

FAMILIES = {"": ("sub-crl", "sub-wu"), "sb": ("sub-sb",), "sbop": ("sub-sbop",)}
"""Atlases of every template: typical growth, open spina bifida before and after repair."""

CARDS = {
    "": {
        "about": "typical growth",
        "training_data": "fetal atlases CRL (Gholipour et al. 2017, 18 weeks) and Wu et al. 2021 (9 weeks), "
        "all neurotypical; each is the mean of many fetuses",
        "license": "Research use only (CRL: non-commercial research; Wu: not stated)",
    },
    "sb": {
        "about": "atlases of open spina bifida before its repair (collapsed outer fluid, wide ventricles)",
        "training_data": "fetal atlas of spina bifida (Fidon et al. 2021), 3 weeks before repair",
        "license": "CC0",
    },
    "sbop": {
        "about": "atlases of spina bifida after its repair (wide ventricles)",
        "training_data": "fetal atlas of spina bifida (Fidon et al. 2021), 5 weeks after repair",
        "license": "CC0",
    },
}
"""Content of the cards of the templates."""

NODES = (21.0, 23.0, 25.0, 27.0, 29.0, 31.0, 33.0, 35.0, 37.0, 38.0)
"""Ages (weeks) between which the template is interpolated."""

WIDTH, OWN = 0.8, 0.2
"""Standard deviation (weeks) of the weights in age, with :data:`NODES` and with the ages of the atlases."""


@dataclass
class Subject:
    """A subject in the atlas frame: image and tissue maps (1 + C, X, Y, Z), age (weeks), length (mm)."""

    maps: Tensor
    weeks: float
    length: float


def subjects(path: Path, table: str = "fetal", families: tuple[str, ...] = FAMILIES[""]) -> list[Subject]:
    """Return prepared subjects and their mirror images on the grid.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    table : str
        Label table of the tissues.
    families : tuple of str
        Families of the subjects.
    """
    unsided = labels.load(table).unsided
    structure = read_table(table)["structure"]
    position = np.array([unsided.index(int(i)) for i in structure])
    out = []
    with np.load(path) as arrays:
        meta = json.loads(str(arrays["meta"]))
        for k, name in enumerate(meta["names"]):
            if family(name) not in families:
                continue
            tissue = torch.from_numpy(position[arrays[f"labels{k}"]]).long()
            image = torch.from_numpy(arrays[f"image{k}"]).float()
            white, fluid = (image[tissue == unsided.index(i)].median() for i in (2, 4))
            image = (0.5 + 0.5 * (image - white) / (fluid - white)).clamp(0, 1.5) * (tissue > 0)
            maps = torch.cat([on_grid(arrays, k, image[None]), shares(arrays, k, position, len(unsided))])
            length = LENGTH / float(arrays[f"scale{k}"])
            out += [Subject(m, meta["weeks"][k], length) for m in (maps, maps.flip(1))]
    return out


def learn(
    path: Path, rounds: int = 2, say=print, families: tuple[str, ...] = FAMILIES[""], own_ages: bool = False
) -> AgeTemplate:
    """Return the template of families of atlases.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    rounds : int
        Number of registrations of every subject to the average of its age.
    say : callable
        Called with the progress.
    families : tuple of str
        Families of the subjects.
    own_ages : bool
        Whether the template has the ages of the atlases, with paths between them.
    """
    people = subjects(path, families=families)
    ages = torch.tensor([p.weeks for p in people])
    nodes = tuple(sorted({p.weeks for p in people})) if own_ages else NODES
    width = OWN if own_ages else WIDTH
    warped = [p.maps for p in people]
    index = identity(GRID, people[0].maps)
    average = [_mean(warped, ages, node, width) for node in nodes]
    for turn in range(rounds):
        velocities: list[Tensor] = []
        # The mirror image of a subject moves as the subject does, mirrored.
        for number in range(0, len(people), 2):
            fixed = _between(average, nodes, people[number].weeks)
            velocity = _way(people[number].maps, fixed)
            mirrored = velocity.flip(1) * torch.tensor([-1.0, 1.0, 1.0]).view(3, 1, 1, 1)
            velocities += [velocity, mirrored]
            say(f"round {turn + 1}, subject {number // 2 + 1} of {len(people) // 2}")
        warped = [sample(p.maps, index + exponential(-v)) for p, v in zip(people, velocities, strict=True)]
        average = []
        for node in nodes:
            back = exponential(_mean(velocities, ages, node, width))
            average.append(sample(_mean(warped, ages, node, width), index + back))
    degree = min(2, len(nodes) - 1)
    lengths = np.polynomial.Polynomial.fit(ages.numpy(), [p.length for p in people], degree).convert()
    ways = torch.stack([_way(a, b) for a, b in pairwise(average)]) if own_ages else None
    return AgeTemplate(torch.stack(average), nodes, SPACING, tuple(lengths.coef.tolist()), ways)


def write(path: Path, folder: Path, name: str = "BrainsegFetal", rounds: int = 2, say=print) -> list[Path]:
    """Compute the templates of all families and write them with their cards.

    Parameters
    ----------
    path : Path
        Arrays from :func:`brainseg.training.fetal.prepare.prepare`.
    folder : Path
        Folder of the templates.
    name : str
        Name of the template of typical growth.
    rounds, say
        See :func:`learn`.

    Returns
    -------
    list of Path
        Files of the templates.
    """
    written = []
    for label, members in FAMILIES.items():
        found = learn(path, rounds, say, members, own_ages=bool(label))
        stem = f"{name}-{label}" if label else name
        method = f"brainseg.training.fetal.template, {rounds} rounds of diffeomorphic registration to the "
        method += "average of each age" + (", ways between neighbors" if label else "")
        about = {"name": stem, "label_table": "fetal", "method": method} | CARDS[label]
        age_template.save(folder / f"{stem}.safetensors", found, about)
        written.append(folder / f"{stem}.safetensors")
    return written


def _way(moving: Tensor, fixed: Tensor) -> Tensor:
    """Return the velocity between the maps of two brains, without image and background."""
    seen = torch.ones(1, *GRID)
    return optimize(torch.cat([moving[2:], seen]), torch.cat([fixed[2:], seen]), OPTIONS)


def _mean(values: list[Tensor], ages: Tensor, node: float, width: float) -> Tensor:
    """Return the weighted mean at the age of a node, from a local linear regression on age."""
    weight = torch.exp(-0.5 * ((ages - node) / width) ** 2)
    weight = torch.where(weight > 1e-3, weight, 0.0)
    away = ages - node
    s0, s1, s2 = weight.sum(), (weight * away).sum(), (weight * away**2).sum()
    # Local linear regression: at the ends of the range a plain mean would lag behind.
    share = weight * (s2 - s1 * away) / (s0 * s2 - s1**2).clamp(min=1e-6)
    straight = float(s0 * s2 - s1**2) > 1e-6 and bool((share > -0.2).all())
    share = share if straight else weight / s0
    return sum(s * v for s, v in zip(share, values, strict=True) if float(s) != 0.0)


def _between(average: list[Tensor], nodes: tuple[float, ...], weeks: float) -> Tensor:
    above = int(np.searchsorted(nodes, weeks).clip(1, len(nodes) - 1))
    share = (weeks - nodes[above - 1]) / (nodes[above] - nodes[above - 1])
    return (1 - share) * average[above - 1] + share * average[above]
