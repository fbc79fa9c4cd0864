"""Preparation of label maps of heads for training.

For each map: the labels as positions in the source table (uint8, RAS, 1 mm, cropped to the head), the signed
distance to the surface of the brain at 2 mm, that to the surface of the cranial cavity where the source
table says what lies inside the skull, and the affine from its voxels to the atlas frame, which is defined by
the mean centroids of the structures over all maps.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from ...models.errors import InputError
from ...models.geometry.affine import fit_affine
from ...models.geometry.distance import closed, signed_distance
from ...models.population import label_sets
from . import cavity
from .arrays import DISTANCE_UNIT, write_arrays
from .seeds import read_seeds
from .sources import Source, positions, source_table

LEAST_STRUCTURES = 6
"""Least number of structures of a map, each side counted, that define its position in the atlas frame."""


def centroids(labels: np.ndarray, source: Source, affine: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """Return the centroid (mm) of every structure and side.

    Parameters
    ----------
    labels : ndarray of int, shape (X, Y, Z)
        Positions in the source table.
    source : Source
        Source table.
    affine : ndarray, shape (4, 4)
        Affine of the voxels.
    """
    key = np.where(source.structure > 0, source.structure * 4 + source.side + 1, 0)
    keys = key[labels]
    found = [k for k in np.unique(keys) if k > 0 and k // 4 != 24]
    points = ndimage.center_of_mass(np.ones(keys.shape, np.uint8), keys, found)
    xyz = np.asarray(points) @ affine[:3, :3].T + affine[:3, 3]
    return {(int(k) // 4, int(k) % 4 - 1): p for k, p in zip(found, xyz, strict=True)}


def prepare(paths: list[Path], out: Path, table: str = "headmaps", seeds: list[Path] | None = None) -> None:
    """Write prepared arrays of label maps.

    Parameters
    ----------
    paths : list of Path
        NIfTI label maps with the values of the source table.
    out : Path
        File to write (npz).
    table : str
        Source table.
    seeds : list of Path, optional
        Seed image of every map, from :func:`brainseg.training.data.seeds.write_seeds`.

    Raises
    ------
    InputError
        If a file is no label map, a value is missing in the table, there are too few structures, or the seeds
        of a map are on another grid.
    """
    source = source_table(table)
    arrays: dict[str, np.ndarray] = {}
    points, affines = [], []
    for number, path in enumerate(paths):
        image = nib.as_closest_canonical(nib.load(path))
        values = np.asarray(image.dataobj)
        label_sets.check_labels(values, path)
        values = values.astype(np.int32)
        whole = positions(values, source.values, path, table)
        box = tuple(slice(max(a.min() - 1, 0), a.max() + 2) for a in np.nonzero(values))
        labels = whole[box]
        if seeds:
            arrays[f"seeds{number}"] = read_seeds(seeds[number], image)[box]
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        distance = signed_distance(closed(source.tissue[labels]))[::2, ::2, ::2]
        arrays[f"labels{number}"] = labels
        arrays[f"distance{number}"] = _stored(distance)
        points.append(centroids(labels, source, affine))
        if len(points[-1]) < LEAST_STRUCTURES:
            raise InputError(
                path,
                f"it has {len(points[-1])} structures of the source table {table}, too few for a head",
                "Give maps of whole heads, or the table of their labels with --table",
            )
        affines.append(affine)
    mean = _mean_centroids(points)
    for number, (own, affine) in enumerate(zip(points, affines, strict=True)):
        shared = sorted(set(own) & set(mean))
        to_atlas = fit_affine(np.array([own[k] for k in shared]), np.array([mean[k] for k in shared]))
        arrays[f"affine{number}"] = affine
        arrays[f"atlas{number}"] = to_atlas @ affine
        if source.cavity.any():
            inside = cavity.cavity(arrays[f"labels{number}"], source, to_atlas @ affine)
            distance = signed_distance(inside)
            # To the faces of the voxels instead of the next center, since the volume counts.
            arrays[f"cavity{number}"] = _stored((distance - np.sign(distance) / 2)[::2, ::2, ::2])
    atlas = {f"{s}:{side}": point.tolist() for (s, side), point in sorted(mean.items())}
    meta = {"count": len(paths), "table": table, "centroids": atlas, "names": [p.name for p in paths]}
    write_arrays(out, meta, arrays)


def _stored(distance: np.ndarray) -> np.ndarray:
    """Return distances (mm) as they are stored."""
    return np.clip(distance / DISTANCE_UNIT, -127, 127).round().astype(np.int8)


def _mean_centroids(points: list[dict]) -> dict[tuple[int, int], np.ndarray]:
    """Return the mean centroids over the maps, symmetric about x = 0, with the origin at their mean."""
    shared = sorted(set.intersection(*map(set, points)))
    each = np.array([[own[k] for k in shared] for own in points])
    each -= each.mean(1, keepdims=True)
    mean = each.mean(0)
    for _ in range(3):
        moved = []
        for own in each:
            matrix = fit_affine(own, mean)
            moved.append(own @ matrix[:3, :3].T + matrix[:3, 3])
        mean = np.mean(moved, 0) * (np.std(each) / np.std(moved))
    out = dict(zip(shared, mean, strict=True))
    flip = np.array([-1.0, 1.0, 1.0])
    other = {k: (k[0], 1 - k[1]) if k[1] >= 0 else k for k in shared}
    return {k: (out[k] + flip * out[other[k]]) / 2 for k in shared if other[k] in out}
