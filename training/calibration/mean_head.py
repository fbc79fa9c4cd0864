"""The mean head: how often every voxel of the atlas frame is background, bone, brain and so on.

:mod:`brainseg.models.localization.upright` compares the orientation of a scan with it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from ...models.population import labels
from ..data.sources import Source
from ..synthesis.config import GeneratorConfig
from ..synthesis.generator import HeadGenerator

SPACING, FINER = 6.0, 3
"""Voxel size (mm) of the mean head, and the factor of the finer grid on which the maps are read."""

LOW, HIGH = (-102.0, -126.0, -138.0), (102.0, 114.0, 114.0)
"""First and last voxel center (mm) along each axis of the atlas frame."""

COMMON = 0.02
"""Smallest share of the head of a label outside the brain with a class of its own."""


def write(path: Path, data: Path, description: str, license: str) -> Path:
    """Compute the mean head and write it with its card.

    Parameters
    ----------
    path : Path
        File to write (npz).
    data : Path
        Arrays from :func:`brainseg.training.data.prepare.prepare`.
    description, license : str
        Description and license of the data, for the card.

    Returns
    -------
    Path
        The file.
    """
    generator = HeadGenerator(data, GeneratorConfig())
    maps = [one.cpu().numpy() for one in generator.maps]
    group, names = classes(generator.source, maps)
    frames = [matrix.double().numpy() for matrix in generator.from_atlas]
    mean = np.mean([shares(one, group, frame) for one, frame in zip(maps, frames, strict=True)], axis=0)
    mean = (mean + mean[:, ::-1]) / 2
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = LOW
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, maps=np.rint(mean * 255).astype(np.uint8), affine=affine)
    card = {"classes": names, "training_data": description, "license": license}
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    return path


def classes(source: Source, maps: list[np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """Return the class of every value of a source table, and the names of the classes.

    Background, frequent labels outside the brain, all other such labels, the tissues of the brain, and the
    cortex of the cerebellum are classes.

    Parameters
    ----------
    source : Source
        The source table.
    maps : list of ndarray of int
        Label maps, positions in the source table.

    Returns
    -------
    group : ndarray of int, shape (values,)
        Class of every value.
    names : list of str
        Names of the classes, in their order.
    """
    count = np.sum([np.bincount(one.ravel(), minlength=len(source.values)) for one in maps], axis=0)
    table = labels.load("adult")
    names, group = ["background"], np.zeros(len(source.values), int)
    head = count[source.values != 0].sum()
    for k, (value, structure) in enumerate(zip(source.values, source.structure, strict=True)):
        if value == 0:
            continue
        name = f"outside {value}" if count[k] > COMMON * head else "outside"
        if structure in table.by_index and structure != 0:
            label = table[int(structure)]
            name = (
                label.total
                if label.total == "cerebellar_gm"
                else labels.DSEG_NAMES[labels.DSEG[label.tissue] - 1]
            )
        if name not in names:
            names.append(name)
        group[k] = names.index(name)
    return group, names


def shares(labeled: np.ndarray, group: np.ndarray, from_atlas: np.ndarray) -> np.ndarray:
    """Return the share of every class in the voxels of the mean head's grid.

    Parameters
    ----------
    labeled : ndarray of int, shape (X, Y, Z)
        Label map, positions in the source table.
    group : ndarray of int
        Class of every position.
    from_atlas : ndarray, shape (4, 4)
        Atlas frame (mm) to voxels of the map.

    Returns
    -------
    ndarray, shape (classes, I, J, K)
        Shares; outside the map is background.
    """
    count = [round((high - low) / SPACING) + 1 for low, high in zip(LOW, HIGH, strict=True)]
    step = SPACING / FINER
    axes = [
        low - (FINER - 1) / 2 * step + step * np.arange(n * FINER) for low, n in zip(LOW, count, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    voxel = np.rint(points @ from_atlas[:3, :3].T + from_atlas[:3, 3]).astype(int)
    inside = ((voxel >= 0) & (voxel < labeled.shape)).all(-1)
    at = tuple(np.moveaxis(voxel.clip(0, np.array(labeled.shape) - 1), -1, 0))
    found = np.where(inside, group[labeled[at]], 0)
    blocks = found.reshape(count[0], FINER, count[1], FINER, count[2], FINER)
    return np.stack([(blocks == k).mean((1, 3, 5)) for k in range(group.max() + 1)])
