"""Template by age: image and tissue probabilities as functions of gestational age.

The maps are stored at some ages in the atlas frame, where all brains have the same length, and interpolated
between them; the length is a polynomial in age. Weights and card are in ``models/data/templates``. A template
may have families for other brains of the same age, ``NAME-FAMILY``, each with its range of ages.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..deformation.velocity import exponential, identity
from ..errors import UsageError
from ..geometry.trilinear import sample
from ..geometry.volume import Grid, Volume, resample
from ..population.labels import load as load_table
from . import catalog

LENGTH = 92.0
"""Length (mm) of a brain in the atlas frame, front to back."""

BEYOND = 0.5, 1.5
"""Weeks that a brain may be younger or older than the ages of a family for a comparison with it."""


@dataclass(frozen=True)
class AgeTemplate:
    """A template by age.

    Attributes
    ----------
    maps : Tensor, shape (N, 1 + C, X, Y, Z)
        For every age the image (about 0.5 in white matter, 1 in fluid) and the tissues' probabilities,
        background first, in the atlas frame.
    weeks : tuple of float
        Ages (gestational weeks) of the maps.
    spacing : float
        Voxel size (mm) in the atlas frame, whose origin is the grid's center.
    length : tuple of float
        Length of the brain (mm, front to back) as a polynomial in weeks, constant first.
    velocities : Tensor, shape (N - 1, 3, X, Y, Z), or None
        Velocity (voxels) from every age to the next, for the shape between them; None for linear
        interpolation of the maps.
    """

    maps: Tensor
    weeks: tuple[float, ...]
    spacing: float
    length: tuple[float, ...]
    velocities: Tensor | None = None

    def scale(self, weeks: float) -> float:
        """Return the size in the atlas frame relative to the real size, at an age (weeks)."""
        return LENGTH / sum(c * weeks**k for k, c in enumerate(self.length))

    def at(self, weeks: float) -> Volume:
        """Return image and probabilities (1 + C, X, Y, Z) at an age (weeks), in real size."""
        weeks = min(max(weeks, self.weeks[0]), self.weeks[-1])
        above = int(np.searchsorted(self.weeks, weeks).clip(1, len(self.weeks) - 1))
        before, after = self.weeks[above - 1 : above + 1]
        share = (weeks - before) / (after - before)
        younger, older = self.maps[above - 1].float(), self.maps[above].float()
        if self.velocities is not None:
            velocity = self.velocities[above - 1]
            index = identity((velocity.shape[1], velocity.shape[2], velocity.shape[3]), velocity)
            younger = sample(younger, index + exponential(-share * velocity))
            older = sample(older, index + exponential((1 - share) * velocity))
        maps = (1 - share) * younger + share * older
        size = self.spacing / self.scale(weeks)
        affine = np.diag([size, size, size, 1.0])
        affine[:3, 3] = -size * (np.array(maps.shape[1:]) - 1) / 2
        return Volume(maps, affine)

    def on_grid(self, weeks: float, spacing: float = 1.0) -> Volume:
        """Return image and probabilities at an age on an upright grid (``spacing`` mm) about the origin."""
        found = self.at(weeks)
        count = np.ceil(np.array(found.grid.shape) * found.grid.spacing / spacing).astype(int)
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = -spacing * (count - 1) / 2
        x, y, z = (int(n) for n in count)
        grid = Grid((x, y, z), affine)
        out = resample(found, grid)
        # Splines are sharper but slow: for the image only.
        out.data[0] = resample(found.with_data(found.data[0]), grid, mode="cubic").data
        return out

    @cached_property
    def sizes(self) -> Tensor:
        """Volumes (mm3) of the tissues at the ages of the maps, shape (N, C - 1)."""
        voxels = torch.tensor([(self.spacing / self.scale(weeks)) ** 3 for weeks in self.weeks])
        return self.maps[:, 2:].float().sum((2, 3, 4)) * voxels[:, None]

    def shares(self, weeks: float) -> np.ndarray:
        """Return the share of each tissue in the brain's volume at an age (weeks), shape (C - 1,)."""
        sizes = self.sizes.numpy()
        found = np.array([np.interp(weeks, self.weeks, column) for column in sizes.T])
        return found / found.sum()


def save(path: Path, template: AgeTemplate, card: dict) -> None:
    """Write a template by age and its card; maps compressed, in eight bits, within the brain of all ages.

    Parameters
    ----------
    path : Path
        File to write (``.safetensors``).
    template : AgeTemplate
        The template.
    card : dict
        Fields of the card; those of the maps are added.
    """
    brain = (template.maps[:, 1] < 0.98).any(0)
    values = (template.maps[:, :, brain] * (255 / 1.5)).round().clamp(0, 255).to(torch.uint8)
    # The background is one minus the sum of the other tissues.
    values = values[:, [0, *range(2, values.shape[1])]]
    packed = zlib.compress(values.numpy().tobytes(), 9)
    stored = {
        "values": torch.frombuffer(bytearray(packed), dtype=torch.uint8),
        "brain": brain.to(torch.uint8),
    }
    if template.velocities is not None:
        stored["ways"] = F.avg_pool3d(template.velocities, 2).half()
    save_file(stored, path)
    path.chmod(0o644)
    card = card | {
        "weeks": list(template.weeks),
        "spacing": template.spacing,
        "length": [float(f"{c:.6g}") for c in template.length],
        "shape": list(values.shape),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def nearest(name: str, cohort: str, weeks: float, volumes: Mapping[int, float]) -> str:
    """Return the cohort, of any family, with tissue shares closest to those of a brain.

    Parameters
    ----------
    name : str
        A template by age.
    cohort : str
        Cohort of typical growth for the age.
    weeks : float
        Gestational age (weeks).
    volumes : mapping of int to float
        Volumes of the brain's structures by index, sides together or apart.

    Returns
    -------
    str
        Label of the cohort.
    """
    best, least = cohort, math.inf
    for family, stem in catalog.families(name).items():
        one, table = load(stem), load_table(catalog.card(stem)["label_table"])
        first, last = one.weeks[0], one.weeks[-1]
        if not first - BEYOND[0] <= weeks <= last + BEYOND[1]:
            continue
        own = np.zeros(len(table.unsided))
        for index, volume in volumes.items():
            if index in table.by_index:
                own[table.unsided.index(min(index, table[index].partner))] += volume
        if own[1:].sum() <= 0:
            return cohort
        away = float(np.abs(own[1:] / own[1:].sum() - one.shares(weeks)).sum())
        if away < least:
            least = away
            best = f"{round(min(max(float(cohort), first), last))}{family}" if family else cohort
    return best


@cache
def load(name: str) -> AgeTemplate:
    """Load the template by age ``name``, or a family of one.

    Raises
    ------
    UsageError
        If it is not bundled, or its file does not match its card.
    """
    if name not in catalog.stems():
        known = ", ".join(catalog.names())
        raise UsageError(None, f"unknown template by age {name!r}", f"Use one of: {known}")
    path, about = catalog.folder() / f"{name}.safetensors", catalog.card(name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != about["sha256"]:
        raise UsageError(path, "it does not match its card (SHA-256 differs)", "Install the program again")
    stored = load_file(path)
    brain = stored["brain"].bool()
    unpacked = bytearray(zlib.decompress(stored["values"].numpy().tobytes()))
    values = torch.frombuffer(unpacked, dtype=torch.uint8).view(about["shape"])
    maps = torch.zeros(*values.shape[:2], *brain.shape)
    maps[:, :, brain] = values.float() * (1.5 / 255)
    background = (1 - maps[:, 1:].sum(1, keepdim=True)).clamp(0, 1)
    whole = torch.cat([maps[:, :1], background, maps[:, 1:]], 1)
    velocities = stored.get("ways")
    if velocities is not None:
        velocities = F.interpolate(velocities.float(), size=tuple(brain.shape), mode="trilinear")
    return AgeTemplate(whole, tuple(about["weeks"]), about["spacing"], tuple(about["length"]), velocities)
