"""Probabilistic atlas of the structures, deformed to the scan: a prior in addition to the network's.

A network uses a neighborhood, an atlas has shapes: it continues the hippocampus where its contrast ends. The
affine of the coarse network and a diffeomorphism, matching structures and intensities, register the atlas to
the scan. Every structure of the atlas gets its mean intensity in the scan, for any contrast (as in SAMSEG,
Puonti et al. 2016). The atlas covers the middle of the brain with its small structures.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import FOLDER
from ..deformation import diffeomorphic
from ..deformation.diffeomorphic import Level, Middle, Options
from ..deformation.velocity import exponential, smooth
from ..deformation.warp import Warp
from ..geometry import sums
from ..geometry.volume import Grid, Volume, resample
from ..networks import zoo
from .grids import half

OPTIONS = Options(2.0, (Level(2, 24, 0.3, 2.5, 1.0), Level(1, 8, 0.3, 1.5, 1.0)), 0.8, 8.0)
"""Options of the deformation."""

AGAIN = replace(OPTIONS, levels=(Level(2, 10, 0.3, 2.5, 1.0), Level(1, 6, 0.3, 1.5, 1.0)))
"""Options of the second deformation, to better posteriors of the scan's structures."""

MAP_WEIGHT, IMAGE_WEIGHT, LOCAL_WEIGHT = 0.3, 1.0, 0.4
"""Weights of the structures' maps, of the intensities and of the locally normalized intensities."""

TRUST, FLOOR = 0.7, 1e-3
"""Weight of the atlas in the joint prior, and smallest probability of a structure in either."""

AFFINE_STEPS = 3
"""Gauss-Newton steps that refine the coarse network's affine."""


@dataclass(frozen=True)
class Atlas:
    """Probabilities of the structures.

    Attributes
    ----------
    maps : Volume, shape (C, X, Y, Z)
        Probabilities of the label table's unsided structures, background first, in the atlas frame.
    card : dict
        Label table, training data, license, and the groups of structures that share a matched channel.
    """

    maps: Volume
    card: dict[str, Any]


def path_of(name: str) -> Path:
    """Return the path of an atlas; its card is in the same folder.

    Parameters
    ----------
    name : str
        Name of the atlas.

    Returns
    -------
    Path
        NPZ file.
    """
    return FOLDER / "atlases" / f"{name}.npz"


def load(name: str) -> Atlas:
    """Read an atlas of the package.

    Parameters
    ----------
    name : str
        Name of the atlas.

    Returns
    -------
    Atlas
        Probabilities and card.

    Raises
    ------
    ValueError
        If its checksum differs from the card's.
    """
    packed, affine, card = _stored(path_of(name))
    side = torch.from_numpy(packed).float() / 255
    maps = torch.cat([side, side.flip(1)], 1)
    return Atlas(Volume(maps.div_(maps.sum(0).clamp(min=1e-6)), affine), card)


@cache
def _stored(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Return half of an atlas, one byte per probability: an eighth of the memory that it needs in use."""
    card = json.loads(path.with_suffix(".json").read_text())
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["sha256"]:
        raise ValueError(f"{path}: SHA-256 differs from its card; install the package again")
    with np.load(path) as arrays:
        return arrays["half"], arrays["affine"], card


def computed_with(names: tuple[str, ...]) -> dict[str, str]:
    """Return the SHA-256 of networks' weights and of the atlases in their cards.

    Parameters
    ----------
    names : tuple of str
        Names of the weights.

    Returns
    -------
    dict of str to str
        Checksums by name.
    """
    found = {}
    for name in names:
        card = zoo.read_card(name)
        found[name] = card["sha256"]
        if "atlas" in card:
            shapes = path_of(card["atlas"]).with_suffix(".json")
            found[f"atlas {card['atlas']}"] = json.loads(shapes.read_text())["sha256"]
    return found


def save(path: Path, maps: Volume, card: dict[str, Any]) -> Path:
    """Write a symmetric atlas with one byte per probability, and its card.

    Parameters
    ----------
    path : Path
        NPZ file; the card is a JSON file of the same name.
    maps : Volume, shape (C, X, Y, Z)
        Symmetric probabilities.
    card : dict
        Content of the card.

    Returns
    -------
    Path
        The NPZ file.
    """
    left = maps.data[:, : maps.data.shape[1] // 2]
    packed = (left * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, half=packed, affine=maps.affine)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    text = json.dumps(card | {"together": apart(maps.data), "sha256": digest}, indent=2)
    path.with_suffix(".json").write_text(text + "\n")
    return path


def apart(maps: Tensor, most: float = 0.05) -> list[list[int]]:
    """Return groups of distant structures that share a channel.

    The cost of matching grows with the number of channels; distant structures can share one.

    Parameters
    ----------
    maps : Tensor, shape (C, X, Y, Z)
        Probabilities, background first.
    most : float
        Largest overlap after dilation by two voxels of twice the size, relative to the smaller structure.

    Returns
    -------
    list of list of int
        Rows of every group, without the background's.
    """
    grown = F.max_pool3d(F.avg_pool3d(maps, 2), 5, 1, 2).flatten(1)
    size = grown.sum(1)
    overlap = grown @ grown.T / torch.minimum(size[:, None], size[None]).clamp(min=1e-6)
    groups: list[list[int]] = []
    for row in sorted(range(1, len(maps)), key=lambda k: -float(size[k])):
        for group in groups:
            if all(overlap[row, other] < most for other in group):
                group.append(row)
                break
        else:
            groups.append([row])
    return groups


@dataclass(frozen=True)
class DeformedAtlas:
    """An atlas deformed to a scan.

    Attributes
    ----------
    atlas : Atlas
        The atlas.
    place : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.
    velocity : Tensor, shape (3, X, Y, Z)
        Stationary velocity of the deformation, in voxels of ``coarse``; None before the first deformation.
    coarse : Grid
        Grid of the optimization, over the covered part of the scan.
    start : ndarray, shape (4, 4)
        Initial affine, which determines that part.
    """

    atlas: Atlas
    place: np.ndarray
    velocity: Tensor | None
    coarse: Grid
    start: np.ndarray

    def probabilities(self, whole: Grid) -> Volume:
        """Return the probabilities on the covered part of an upright grid.

        Parameters
        ----------
        whole : Grid
            Upright grid.

        Returns
        -------
        Volume, shape (C, X, Y, Z)
            Probabilities.

        Raises
        ------
        ValueError
            If the atlas is not deformed.
        """
        if self.velocity is None:
            raise ValueError("the atlas is not deformed; call deform first")
        grid = _box(self.atlas, whole, self.start)
        flow = Volume(exponential(-self.velocity) * float(self.coarse.spacing[0]), self.coarse.affine)
        found = Warp((flow, self.place)).resample(self.atlas.maps, grid).data
        found[0] += (1 - found.sum(0)).clamp(min=0)
        return Volume(found, grid.affine)


def place(atlas: Atlas, to_atlas: np.ndarray, whole: Grid, options: Options = OPTIONS) -> DeformedAtlas:
    """Place an atlas on the covered part of an upright grid, without deformation.

    Parameters
    ----------
    atlas : Atlas
        The atlas.
    to_atlas : ndarray, shape (4, 4)
        Affine from the scan's mm to the atlas frame.
    whole : Grid
        Upright grid.
    options : Options
        Options of the deformation.

    Returns
    -------
    DeformedAtlas
        The atlas without a velocity.
    """
    return DeformedAtlas(atlas, to_atlas, None, _coarser(_box(atlas, whole, to_atlas), options), to_atlas)


def deform(
    before: DeformedAtlas, masked: Volume, posteriors: Volume, options: Options = OPTIONS
) -> DeformedAtlas:
    """Deform an atlas to a scan, starting from an earlier deformation.

    Parameters
    ----------
    before : DeformedAtlas
        Result of :func:`place` or of an earlier deformation.
    masked : Volume
        The scan, zero outside the brain.
    posteriors : Volume, shape (C, X, Y, Z)
        Current posteriors of the scan's structures; voxels of 2 mm are sufficient.
    options : Options
        Options of the deformation.

    Returns
    -------
    DeformedAtlas
        The deformed atlas.
    """
    grid, shapes, matrix = before.coarse, before.atlas, before.place
    here = resample(posteriors, grid).data
    here[0] += 1 - here.sum(0)
    image = resample(masked, grid).data
    level = _levels(image, here)
    fixed = _feature_maps(here, image, 1 - here[0], shapes.card["together"])
    if before.velocity is None:
        # A coarser grid is sufficient for an affine.
        rough = F.avg_pool3d(fixed, 2)
        for _ in range(AFFINE_STEPS):
            space = Middle(half(grid), matrix, np.eye(4))
            step = diffeomorphic.refine_linear(_moved(shapes, space, level), rough, space)
            matrix = matrix @ np.linalg.inv(step)
    moving = _moved(shapes, Middle(grid, matrix, np.eye(4)), level)
    velocity = diffeomorphic.optimize(moving, fixed, options, before.velocity)
    return replace(before, place=matrix, velocity=velocity)


def _box(atlas: Atlas, whole: Grid, to_atlas: np.ndarray) -> Grid:
    """Return the part of a grid covered by the atlas."""
    back = np.linalg.inv(whole.affine) @ np.linalg.inv(to_atlas)
    corners = atlas.maps.grid.corners() @ back[:3, :3].T + back[:3, 3]
    first = np.maximum(np.ceil(corners.min(0)).astype(int), 0)
    last = np.minimum(np.floor(corners.max(0)).astype(int) + 1, whole.shape)
    affine = whole.affine.copy()
    affine[:3, 3] += whole.affine[:3, :3] @ first
    x, y, z = (int(n) for n in np.maximum(last - first, 1))
    return Grid((x, y, z), affine)


def _coarser(fine: Grid, options: Options) -> Grid:
    """Return the grid of the optimization over the same part."""
    factor = max(level.factor for level in options.levels)
    size = np.array(fine.shape) * fine.spacing
    count = (np.ceil(size / options.spacing / factor).astype(int) * factor).tolist()
    affine = np.diag([options.spacing] * 3 + [1.0])
    middle = fine.affine[:3, 3] + (np.array(fine.shape) - 1) / 2 * fine.spacing
    affine[:3, 3] = middle - (np.array(count) - 1) / 2 * options.spacing
    return Grid(tuple(count), affine)


def _levels(image: Tensor, posteriors: Tensor) -> Tensor:
    """Return the mean intensity of every structure, background 0."""
    weight = posteriors.flatten(1) ** 2
    mean = sums.product(weight, image.flatten()) / weight.sum(1).clamp(min=1e-3)
    mean[0] = 0
    return mean


def _moved(atlas: Atlas, space: Middle, level: Tensor) -> Tensor:
    """Return the feature maps of the atlas, with intensities of the scan."""
    maps = Warp((space.to_moving,)).resample(atlas.maps, space.grid).data
    covered = maps.sum(0)
    maps[0] += 1 - covered
    return _feature_maps(
        maps, torch.einsum("cxyz,c->xyz", maps, level), 1 - maps[0], atlas.card["together"], covered
    )


def _feature_maps(
    maps: Tensor, image: Tensor, inside: Tensor, groups: list[list[int]], covered: Tensor | None = None
) -> Tensor:
    """Return weighted maps, intensities and locally normalized intensities, and the covered voxels."""
    top = torch.quantile(image[inside > 0.9], 0.98) if bool((inside > 0.9).any()) else image.max()
    image = (image / top.clamp(min=1e-6)).clamp(0, 1.3)
    share = smooth(inside[None], 1.5)[0].clamp(min=1e-3)
    mean = smooth((image * inside)[None], 1.5)[0] / share
    spread = (smooth((image * image * inside)[None], 1.5)[0] / share - mean * mean).clamp(min=0).sqrt()
    local = (image - mean) / (spread + 0.03) * inside
    covered = torch.ones_like(image) if covered is None else covered
    together = torch.stack([maps[group].sum(0) for group in groups])
    return torch.cat(
        [MAP_WEIGHT * together, IMAGE_WEIGHT * image[None], LOCAL_WEIGHT * local[None], covered[None]]
    )


def joined(network: Volume, shapes: Volume) -> Volume:
    """Return the geometric mean of network and atlas, with the exponent :data:`TRUST` of the atlas.

    Parameters
    ----------
    network, shapes : Volume, shape (C, X, Y, Z)
        Probabilities of the same structures on one grid.

    Returns
    -------
    Volume, shape (C, X, Y, Z)
        Probabilities that sum to one.
    """
    found = network.data.clamp(min=FLOOR).pow_(1 - TRUST).mul_(shapes.data.clamp(min=FLOOR).pow_(TRUST))
    return Volume(found.div_(found.sum(0)), shapes.affine)
