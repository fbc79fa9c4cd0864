"""Where structures lie, learned from label maps and bent to the scan: a second prior beside the network's.

A network sees a neighbourhood, a probabilistic atlas knows shapes: the hippocampus does not end where the
contrast does. The atlas is brought to the scan by the affine that the coarse network found and by a
diffeomorphism that matches structures and intensities; the atlas's own intensities are the means that the
scan shows for every structure, so that contrast plays no part (as in SAMSEG, Puonti et al. 2016, and its
ancestors). It covers the middle of the brain, where the structures are small.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import diffeomorphic
from .diffeomorphic import Level, Middle, Options
from .skullstrip import half
from .velocity import exponential, smooth
from .volume import Grid, Volume, resample
from .warp import Warp

OPTIONS = Options(2.0, (Level(2, 24, 0.3, 2.5, 1.0), Level(1, 8, 0.3, 1.5, 1.0)), 0.8, 8.0)
"""How the atlas is bent."""

MAP_WEIGHT, IMAGE_WEIGHT, LOCAL_WEIGHT = 0.3, 1.0, 0.4
"""Weights of the structures' maps, the intensities and the locally normalized intensities."""

POLISHES = 3
"""Gauss-Newton steps that make the coarse network's affine better."""


@dataclass(frozen=True)
class Atlas:
    """Probabilities of the structures.

    Attributes
    ----------
    maps : Volume, shape (C, X, Y, Z)
        Of the label table's unsided structures, background first, in the atlas frame.
    card : dict
        Label table, training data, licence.
    """

    maps: Volume
    card: dict[str, Any]


def path_of(name: str) -> Path:
    """Where an atlas lies; its card lies beside it."""
    return Path(str(files(__package__) / "atlases" / f"{name}.npz"))


@cache
def load(name: str) -> Atlas:
    """Read an atlas that the package ships.

    Raises
    ------
    ValueError
        If it is not the one that its card describes.
    """
    path = path_of(name)
    card = json.loads(path.with_suffix(".json").read_text())
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
        raise ValueError(f"{path} is not the file its card describes (SHA-256 differs): fetch it again")
    with np.load(path) as arrays:
        maps = torch.from_numpy(arrays["maps"]).float() / 255
        return Atlas(Volume(maps / maps.sum(0).clamp(min=1e-6), arrays["affine"]), card)


def save(path: Path, maps: Volume, card: dict[str, Any]) -> Path:
    """Write an atlas, a byte for every probability, with its card."""
    packed = (maps.data * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, maps=packed, affine=maps.affine)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card | {"sha256": digest}, indent=2) + "\n")
    return path


def look(
    atlas: Atlas, masked: Volume, posteriors: Volume, to_atlas: np.ndarray, options: Options = OPTIONS
) -> Volume:
    """Probabilities of the structures by the atlas, shape (C, X, Y, Z), on the lattice of ``posteriors``.

    Parameters
    ----------
    atlas : Atlas
        Shapes.
    masked : Volume
        The scan, zero outside of the brain.
    posteriors : Volume, shape (C, X, Y, Z)
        What is known so far of the scan's structures, on an upright grid.
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.
    options : Options
        How the atlas is bent.
    """
    fine = _box(atlas, posteriors, to_atlas)
    grid = _coarser(fine, options)
    here = resample(posteriors, grid).data
    image = resample(masked.canonical(), grid).data
    inside = 1 - here[0]
    level = _levels(image, here)
    fixed = _stack(here, image, inside)
    # The affine moves as a whole: it is found on a coarser grid.
    rough, place = F.avg_pool3d(fixed, 2), to_atlas
    for _ in range(POLISHES):
        space = Middle(half(grid), place, np.eye(4))
        place = place @ np.linalg.inv(diffeomorphic.polish(_brought(atlas, space, level), rough, space))
    space = Middle(grid, place, np.eye(4))
    velocity = diffeomorphic.optimise(_brought(atlas, space, level), fixed, options)
    flow = Volume(exponential(-velocity) * options.spacing, grid.affine)
    found = Warp((flow, space.to_moving)).resample(atlas.maps, fine).data
    found[0] += (1 - found.sum(0)).clamp(min=0)
    return Volume(found, fine.affine)


def _box(atlas: Atlas, posteriors: Volume, to_atlas: np.ndarray) -> Grid:
    """The part of the grid of ``posteriors`` that the atlas covers."""
    whole = posteriors.grid
    back = np.linalg.inv(whole.affine) @ np.linalg.inv(to_atlas)
    corners = atlas.maps.grid.corners() @ back[:3, :3].T + back[:3, 3]
    first = np.maximum(np.ceil(corners.min(0)).astype(int), 0)
    last = np.minimum(np.floor(corners.max(0)).astype(int) + 1, whole.shape)
    affine = whole.affine.copy()
    affine[:3, 3] += whole.affine[:3, :3] @ first
    x, y, z = (int(n) for n in np.maximum(last - first, 1))
    return Grid((x, y, z), affine)


def _coarser(fine: Grid, options: Options) -> Grid:
    """The grid of the optimisation over the same part."""
    factor = max(level.factor for level in options.levels)
    size = np.array(fine.shape) * fine.spacing
    count = (np.ceil(size / options.spacing / factor).astype(int) * factor).tolist()
    affine = np.diag([options.spacing] * 3 + [1.0])
    middle = fine.affine[:3, 3] + (np.array(fine.shape) - 1) / 2 * fine.spacing
    affine[:3, 3] = middle - (np.array(count) - 1) / 2 * options.spacing
    return Grid(tuple(count), affine)


def _levels(image: Tensor, posteriors: Tensor) -> Tensor:
    """Mean intensity of every structure, background 0."""
    weight = posteriors.flatten(1) ** 2
    mean = (weight @ image.flatten()) / weight.sum(1).clamp(min=1e-3)
    mean[0] = 0
    return mean


def _brought(atlas: Atlas, space: Middle, level: Tensor) -> Tensor:
    """What is matched, of the atlas."""
    maps = Warp((space.to_moving,)).resample(atlas.maps, space.grid).data
    seen = maps.sum(0)
    maps[0] += 1 - seen
    return _stack(maps, (maps * level[:, None, None, None]).sum(0), 1 - maps[0], seen)


def _stack(maps: Tensor, image: Tensor, inside: Tensor, seen: Tensor | None = None) -> Tensor:
    """Maps, intensities and locally normalized intensities, weighted, and what is in the field of view."""
    top = torch.quantile(image[inside > 0.9], 0.98) if bool((inside > 0.9).any()) else image.max()
    image = (image / top.clamp(min=1e-6)).clamp(0, 1.3)
    share = smooth(inside[None], 1.5)[0].clamp(min=1e-3)
    mean = smooth((image * inside)[None], 1.5)[0] / share
    spread = (smooth((image * image * inside)[None], 1.5)[0] / share - mean * mean).clamp(min=0).sqrt()
    local = (image - mean) / (spread + 0.03) * inside
    seen = torch.ones_like(image) if seen is None else seen
    return torch.cat(
        [MAP_WEIGHT * maps[1:], IMAGE_WEIGHT * image[None], LOCAL_WEIGHT * local[None], seen[None]]
    )
