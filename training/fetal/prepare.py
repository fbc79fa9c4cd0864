"""Preparation of fetal images with labels for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...models.geometry.distance import signed_distance
from ...models.templates.age_template import LENGTH
from ..data.arrays import DISTANCE_UNIT, write_arrays
from ..data.intensity_classes import MOST, mixture
from . import dataset
from . import interpolation as paths
from .dataset import Subject
from .source_labels import numbering, read_table


def prepare(subjects: Sequence[Path | Subject], out: Path, table: str = "fetal") -> None:
    """Write prepared arrays of subjects with a T2w image and a label map.

    For each subject: image (uint8), labels, subclass of every voxel for 1 to 4 subclasses per meta-label, the
    signed distance to the surface, the similarity transform from voxels to the atlas frame, and the age
    (weeks); and the paths between brains (:mod:`brainseg.training.fetal.interpolation`).

    Parameters
    ----------
    subjects : sequence of Path or Subject
        Subjects from :func:`brainseg.training.fetal.dataset.find`, or folders ``sub-*``.
    out : Path
        File to write (npz).
    table : str
        Source table of the label maps.
    """
    columns, source = read_table(), numbering(table)
    arrays: dict[str, np.ndarray] = {}
    names, ages = [], []
    for number, given in enumerate(subjects):
        one = dataset.subject(given) if isinstance(given, Path) else given
        image, labels, affine = dataset.read(one, source)
        dataset.check_contrast(image, labels, one)
        seeds = np.zeros((MOST, *labels.shape), np.uint8)
        for meta in (1, 2, 3):
            where = columns["meta"][labels] == meta
            for n in range(1, MOST + 1):
                seeds[n - 1][where] = mixture(image[where], n)
        distance = signed_distance(labels > 0) * float(np.linalg.norm(affine[:3, 0]))
        top = np.quantile(image[labels > 0], 0.999)
        arrays[f"image{number}"] = (np.clip(image / top, 0, 1) * 255).round().astype(np.uint8)
        arrays[f"labels{number}"] = labels
        arrays[f"seeds{number}"] = seeds
        stored = np.clip(distance / DISTANCE_UNIT, -127, 127).round().astype(np.int8)
        arrays[f"distance{number}"] = stored
        upright = to_atlas(labels > 0, affine)
        arrays[f"atlas{number}"] = upright @ affine
        arrays[f"scale{number}"] = np.array(upright[0, 0])
        names.append(one.name)
        ages.append(one.weeks)
    pairs = paths.pairs(names, ages)
    arrays |= paths.find(arrays, pairs, columns["structure"])
    write_arrays(out, {"count": len(names), "names": names, "weeks": ages, "paths": pairs}, arrays)


def to_atlas(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the similarity transform from mm to the atlas frame, from the bounding box of an upright brain.

    Parameters
    ----------
    brain : ndarray of bool, shape (X, Y, Z)
        Brain mask.
    affine : ndarray, shape (4, 4)
        Affine of the voxels.
    """
    index = np.argwhere(brain)
    ends = np.stack([index.min(0) - 0.5, index.max(0) + 0.5]) @ affine[:3, :3].T + affine[:3, 3]
    scale = LENGTH / abs(ends[1, 1] - ends[0, 1])
    out = np.diag([scale, scale, scale, 1.0])
    out[:3, 3] = -scale * ends.mean(0)
    return out
