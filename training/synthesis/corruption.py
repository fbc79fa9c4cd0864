"""Graded corruption of segmentations, to calibrate and test the quality score."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import ndimage

from ...models.geometry.volume import Volume
from ...models.population import labels

Corrupt = Callable[[np.ndarray, float, np.random.Generator, np.ndarray], np.ndarray]


def shift(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Translate all structures by up to 15 mm."""
    direction = rng.normal(size=3)
    voxels = np.rint(15 * level * direction / np.linalg.norm(direction) / spacing)
    return ndimage.shift(found, voxels, order=0)


def turn(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Rotate all structures about a random axis by up to 25 degrees."""
    axis = rng.normal(size=3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.radians(25 * level)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    matrix = np.diag(1 / spacing) @ matrix @ np.diag(spacing)
    center = (np.array(found.shape) - 1) / 2
    return ndimage.affine_transform(found, matrix, center - matrix @ center, order=0)


def warp(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Deform all structures by a smooth random displacement of up to 12 mm."""
    index = np.indices(found.shape, np.float32)
    for axis in range(3):
        points = rng.uniform(-1, 1, (6, 6, 6)).astype(np.float32) * 12 * level / spacing[axis]
        index[axis] += ndimage.zoom(points, np.array(found.shape) / 6, order=1)
    return ndimage.map_coordinates(found, index, order=0)


def grow(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Dilate a third of the structures into their neighbors by up to 4 voxels."""
    out = found.copy()
    for label in _some(found, rng, 0.33):
        grown = ndimage.binary_dilation(found == label, iterations=max(1, round(4 * level)))
        out[grown & (found > 0)] = label
    return out


def patches(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Give random balls the label of another structure."""
    out, inside = found.copy(), np.argwhere(found > 0)
    present = np.unique(found[found > 0])
    for _ in range(max(1, round(60 * level))):
        center, radius = inside[rng.integers(len(inside))], rng.uniform(4, 12) / spacing
        box = tuple(slice(max(0, int(c - r)), int(c + r) + 1) for c, r in zip(center, radius, strict=True))
        axes = np.ogrid[box]
        ball = sum(((a - c) / r) ** 2 for a, c, r in zip(axes, center, radius, strict=True)) <= 1
        part = out[box]
        part[ball & (part > 0)] = rng.choice(present)
    return out


def specks(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Give random voxels the label of another structure."""
    noise = (rng.random(found.shape, dtype=np.float32) < 0.5 * level) & (found > 0)
    out = found.copy()
    out[noise] = rng.permutation(found[noise])
    return out


def coarsen(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Reduce the resolution of the labels to up to 8 mm."""
    step = np.maximum(1, np.rint((1 + 7 * level) / spacing)).astype(int)
    index = [
        np.minimum(np.arange(n) // s * s + s // 2, n - 1) for n, s in zip(found.shape, step, strict=True)
    ]
    return found[np.ix_(*index)]


def cut(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Remove up to half of the brain on one side of a random plane."""
    points = np.argwhere(found > 0)
    direction = rng.normal(size=3)
    along = points @ direction
    gone = points[along > np.quantile(along, 1 - 0.5 * level)]
    out = found.copy()
    out[tuple(gone.T)] = 0
    return out


def exchange(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Swap left and right in some structures, at the highest level in all."""
    table = labels.load("adult")
    change = np.arange(int(found.max()) + 1)
    for label in table:
        if (
            label.partner > label.index
            and label.partner < len(change)
            and (level >= 1 or rng.random() < level)
        ):
            change[[label.index, label.partner]] = label.partner, label.index
    return change[found].astype(found.dtype)


def forget(found: np.ndarray, level: float, rng: np.random.Generator, spacing: np.ndarray) -> np.ndarray:
    """Replace structures by their surroundings."""
    gone = np.isin(found, _some(found, rng, 0.5 * level))
    if not (gone.any() and ((found > 0) & ~gone).any()):
        return found
    _, nearest = ndimage.distance_transform_edt(gone | (found == 0), return_indices=True)
    out = found.copy()
    out[gone] = found[tuple(axis[gone] for axis in nearest)]
    return out


KINDS: dict[str, Corrupt] = {
    f.__name__: f for f in (shift, turn, warp, grow, patches, specks, coarsen, cut, exchange, forget)
}
"""Kinds of corruption by name; each takes labels, level, random number generator and voxel size (mm)."""


def _some(found: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Return a random share of the labels, at least one."""
    present = np.unique(found[found > 0])
    return rng.choice(present, max(1, round(share * len(present))), replace=False)


def apply(structures: Volume, kind: str, level: float, rng: np.random.Generator) -> Volume:
    """Return a corrupted copy of a segmentation.

    Parameters
    ----------
    structures : Volume of integers
        Segmentation.
    kind : str
        Kind of corruption, a key of :data:`KINDS`.
    level : float
        Severity, from 0 to 1.
    rng : Generator
        Random number generator.
    """
    found = KINDS[kind](structures.data.numpy(), level, rng, structures.grid.spacing)
    return structures.with_data(torch.from_numpy(np.ascontiguousarray(found)))


def graded(
    structures: Volume, rng: np.random.Generator, each: int = 2
) -> Iterator[tuple[str, float, Volume]]:
    """Yield kind, level and segmentation: the original, then every kind of corruption at ``each`` levels."""
    yield "none", 0.0, structures
    for kind in KINDS:
        for number in range(each):
            level = (number + float(rng.uniform(0.1, 0.9))) / each
            yield kind, level, apply(structures, kind, level, rng)
