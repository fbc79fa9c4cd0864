"""A template that grows: image and tissue probabilities as functions of gestational age.

It is stored at some ages in the atlas frame, where every brain has one length, and interpolated between
them; the length itself is a polynomial in age. Weights and card lie in ``models/data/templates``. Where one
template does not suit all brains of an age there are families of it, ``NAME-FAMILY``, each for its ages.
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

from ..deformation.velocity import exponential, identity, sample
from ..errors import UsageError
from ..geometry.volume import Grid, Volume, resample
from ..population.labels import load as load_table
from . import catalog

LENGTH = 92.0
"""Length (mm) of a brain in the atlas frame, front to back."""

BEYOND = 0.5, 1.5
"""Weeks by which a brain may be younger or older than all of a family, to be compared with it."""


@dataclass(frozen=True)
class Growing:
    """A template by age.

    Attributes
    ----------
    maps : Tensor, shape (N, 1 + C, X, Y, Z)
        At every node of age the image (about 0.5 in white matter, 1 in fluid) and the tissues'
        probabilities, background first, in the atlas frame.
    weeks : tuple of float
        The nodes' ages.
    spacing : float
        Voxel size (mm) in the atlas frame, whose origin is the grid's centre.
    length : tuple of float
        The brain's length (mm, front to back) as a polynomial in weeks, constant first.
    ways : Tensor, shape (N - 1, 3, X, Y, Z), or None
        Velocity (voxels) from every node to the next, along which the shape changes between them; without
        it the maps are mixed where they are.
    """

    maps: Tensor
    weeks: tuple[float, ...]
    spacing: float
    length: tuple[float, ...]
    ways: Tensor | None = None

    def scale(self, weeks: float) -> float:
        """Atlas millimetres in one real millimetre at an age."""
        return LENGTH / sum(c * weeks**k for k, c in enumerate(self.length))

    def at(self, weeks: float) -> Volume:
        """Image and probabilities at an age (1 + C, X, Y, Z), in real millimetres."""
        weeks = min(max(weeks, self.weeks[0]), self.weeks[-1])
        above = int(np.searchsorted(self.weeks, weeks).clip(1, len(self.weeks) - 1))
        before, after = self.weeks[above - 1 : above + 1]
        share = (weeks - before) / (after - before)
        younger, older = self.maps[above - 1].float(), self.maps[above].float()
        if self.ways is not None:
            way = self.ways[above - 1]
            index = identity((way.shape[1], way.shape[2], way.shape[3]), way)
            younger = sample(younger, index + exponential(-share * way))
            older = sample(older, index + exponential((1 - share) * way))
        maps = (1 - share) * younger + share * older
        size = self.spacing / self.scale(weeks)
        affine = np.diag([size, size, size, 1.0])
        affine[:3, 3] = -size * (np.array(maps.shape[1:]) - 1) / 2
        return Volume(maps, affine)

    def on_grid(self, weeks: float, spacing: float = 1.0) -> Volume:
        """The same on an upright grid of ``spacing`` mm about the origin."""
        found = self.at(weeks)
        count = np.ceil(np.array(found.grid.shape) * found.grid.spacing / spacing).astype(int)
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = -spacing * (count - 1) / 2
        x, y, z = (int(n) for n in count)
        grid = Grid((x, y, z), affine)
        out = resample(found, grid)
        # Splines are sharper, and slow: for what is looked at.
        out.data[0] = resample(found.with_data(found.data[0]), grid, mode="cubic").data
        return out

    @cached_property
    def sizes(self) -> Tensor:
        """Volume of every tissue at every node (mm3), shape (N, C - 1): its probability summed, real size."""
        voxels = torch.tensor([(self.spacing / self.scale(weeks)) ** 3 for weeks in self.weeks])
        return self.maps[:, 2:].float().sum((2, 3, 4)) * voxels[:, None]

    def shares(self, weeks: float) -> np.ndarray:
        """Which part of the brain each tissue is at an age."""
        sizes = self.sizes.numpy()
        found = np.array([np.interp(weeks, self.weeks, column) for column in sizes.T])
        return found / found.sum()


def save(path: Path, growing: Growing, card: dict) -> None:
    """Write the maps in eight bits, for the voxels that are brain at some age, packed, with their card."""
    brain = (growing.maps[:, 1] < 0.98).any(0)
    values = (growing.maps[:, :, brain] * (255 / 1.5)).round().clamp(0, 255).to(torch.uint8)
    # Background is what the other tissues leave.
    values = values[:, [0, *range(2, values.shape[1])]]
    packed = zlib.compress(values.numpy().tobytes(), 9)
    stored = {
        "values": torch.frombuffer(bytearray(packed), dtype=torch.uint8),
        "brain": brain.to(torch.uint8),
    }
    if growing.ways is not None:
        stored["ways"] = F.avg_pool3d(growing.ways, 2).half()
    save_file(stored, path)
    path.chmod(0o644)
    card = card | {
        "weeks": list(growing.weeks),
        "spacing": growing.spacing,
        "length": [float(f"{c:.6g}") for c in growing.length],
        "shape": list(values.shape),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def nearest(name: str, cohort: str, weeks: float, volumes: Mapping[int, float]) -> str:
    """The cohort, of whatever family, whose tissues have a brain's shares.

    Parameters
    ----------
    name : str
        A growing template.
    cohort : str
        That of typical growth for the age.
    weeks : float
        The age.
    volumes : mapping of int to float
        Volumes of the brain's structures by index, sides together or apart.
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
def load(name: str) -> Growing:
    """Load the growing template ``name``, or a family of one.

    Raises
    ------
    UsageError
        If the package does not ship it, or its file is not the one that its card describes.
    """
    if name not in catalog.stems():
        known = ", ".join(catalog.names())
        raise UsageError(None, f"there is no template {name!r} by age", f"There are: {known}")
    path, about = catalog.folder() / f"{name}.safetensors", catalog.card(name)
    if hashlib.sha256(path.read_bytes()).hexdigest() != about["sha256"]:
        raise UsageError(path, "it is not the file that its card describes", "Install the program again")
    stored = load_file(path)
    brain = stored["brain"].bool()
    unpacked = bytearray(zlib.decompress(stored["values"].numpy().tobytes()))
    values = torch.frombuffer(unpacked, dtype=torch.uint8).view(about["shape"])
    maps = torch.zeros(*values.shape[:2], *brain.shape)
    maps[:, :, brain] = values.float() * (1.5 / 255)
    background = (1 - maps[:, 1:].sum(1, keepdim=True)).clamp(0, 1)
    whole = torch.cat([maps[:, :1], background, maps[:, 1:]], 1)
    ways = stored.get("ways")
    if ways is not None:
        ways = F.interpolate(ways.float(), size=tuple(brain.shape), mode="trilinear")
    return Growing(whole, tuple(about["weeks"]), about["spacing"], tuple(about["length"]), ways)
