"""Parcels carried from a template into a participant's own gray matter, and measured there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..deformation.warp import Warp
from ..geometry.axes import extent
from ..geometry.distance import nearest
from ..geometry.volume import Volume, box
from .atlas import Atlas, Places

REACH = 4.0
"""Largest distance (mm) of a voxel of gray matter without a parcel from the parcel that it gets."""

STATISTICS = {"mean": "Mean", "median": "Median", "sd": "Standard deviation"}
"""Statistics of a map in a parcel, and their names."""


@dataclass(frozen=True)
class Carried:
    """Parcels on the grid of an image.

    Attributes
    ----------
    labels : Volume, int32
        Parcels, 0 elsewhere.
    filled : int
        Voxels of gray matter that got the nearest parcel.
    left : int
        Voxels of the structures with parcels that have none.
    lost : tuple of int
        Parcels without any voxel.
    far : int
        Voxels of ``filled`` whose parcel is more than ``REACH`` mm away.
    """

    labels: Volume
    filled: int
    left: int
    lost: tuple[int, ...]
    far: int = 0


def carry(atlas: Atlas, known: Places, back: Warp, structures: Volume) -> Carried:
    """Carry the parcels of an atlas into the gray matter of an image.

    Every parcel is interpolated linearly as a map, and the largest one counts. A parcel stays within the
    structures that it lies in on the template, so that cortical parcels are on the cortex of their side. In
    structures that the atlas labels as a whole, a voxel without parcel gets the nearest one up to
    ``REACH`` mm, however far it is if the atlas divides the whole cortex. Parcels outside of gray matter stay
    as they are carried, outside of gray matter.

    Parameters
    ----------
    atlas : Atlas
        The atlas.
    known : Places
        Where its parcels lie.
    back : Warp
        Transform that resamples the template onto the image.
    structures : Volume
        Structures of the image, by the same indices as those of the template.

    Returns
    -------
    Carried
        Parcels on the grid of the image.
    """
    out = torch.zeros(structures.grid.shape, dtype=torch.int32)
    if not bool((structures.data > 0).any()):
        return Carried(structures.with_data(out), 0, 0, tuple(p.index for p in atlas.parcels))
    start, shape = box(structures, 0.0)
    part = structures.crop(start, shape)
    found = back.resample(atlas.image, part.grid, "label").data.numpy()
    own = part.data.numpy()
    result = np.zeros(shape, np.int32)
    filled = left = far = 0
    size = 1 + max(p.index for p in atlas.parcels)
    for group in _groups(known):
        allowed = np.zeros(size, bool)
        allowed[list(known.structures[group[0]])] = True
        target = np.isin(own, group)
        ends = extent(target)
        if ends is None:
            continue
        pad = int(np.ceil(REACH / min(part.grid.spacing)))
        wide = tuple(slice(max(0, first - pad), last + 1 + pad) for first, last in ends)
        inside = target[wide]
        labels = np.where(allowed[found[wide]], found[wide], 0)
        if group[0] in known.dense and labels.any():
            labels, more, beyond = _fill(labels, inside, part.grid.spacing, atlas.whole)
            filled, far = filled + more, far + beyond
        left += int(np.count_nonzero(inside & (labels == 0)))
        result[wide] = np.where(inside, labels, result[wide])
    if known.elsewhere:
        gray = np.isin(own, list(known.structures))
        result = np.where(np.isin(found, known.elsewhere) & (own > 0) & ~gray, found, result)
    out[tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))] = torch.from_numpy(result)
    there = np.bincount(result.ravel(), minlength=size)
    lost = tuple(p.index for p in atlas.parcels if not there[p.index])
    return Carried(structures.with_data(out), filled, left, lost, far)


def _groups(known: Places) -> list[list[int]]:
    """Return the structures with parcels; those with the same parcels together."""
    found: dict[tuple[tuple[int, ...], bool], list[int]] = {}
    for index, parcels in known.structures.items():
        found.setdefault((parcels, index in known.dense), []).append(index)
    return list(found.values())


def _fill(
    labels: np.ndarray, inside: np.ndarray, spacing: np.ndarray, whole: bool
) -> tuple[np.ndarray, int, int]:
    """Give voxels without label the nearest one up to ``REACH`` mm, or any distance if ``whole``.

    Return the labels, the number of these voxels, and how many are beyond ``REACH``.
    """
    missing = inside & (labels == 0)
    index, distance = nearest(labels > 0, missing, spacing)
    beyond = distance > REACH
    found = labels.ravel()[index]
    out = labels.copy()
    out[missing] = found if whole else np.where(beyond, 0, found)
    far = int(np.count_nonzero(beyond))
    return out, len(index) - (0 if whole else far), far if whole else 0


def measure(
    atlas: Atlas, labels: Volume, gray: Volume, maps: Mapping[str, Volume]
) -> dict[int, dict[str, float]]:
    """Return volumes of every parcel, and statistics of maps in it.

    Parameters
    ----------
    atlas : Atlas
        The atlas.
    labels : Volume
        Parcels of the image.
    gray : Volume
        Probability of gray matter on the same grid.
    maps : mapping of str to Volume
        Images on the same grid by name; values that are not finite do not count.

    Returns
    -------
    dict of int to dict of str to float
        By parcel ``volume_mm3``, ``gm_volume_mm3``, and ``NAME_mean``, ``NAME_median`` and ``NAME_sd`` of
        every map; nan where a map has no value.
    """
    where = np.flatnonzero(labels.data.numpy())
    found = labels.data.numpy().ravel()[where]
    order = np.argsort(found, kind="stable")
    where, found = where[order], found[order]
    voxel, size = labels.grid.voxel_volume, 1 + max(p.index for p in atlas.parcels)
    count = np.bincount(found, minlength=size) * voxel
    share = np.bincount(found, gray.data.numpy().ravel()[where].astype(np.float64), size) * voxel
    out = {p.index: {"volume_mm3": count[p.index], "gm_volume_mm3": share[p.index]} for p in atlas.parcels}
    bounds = np.searchsorted(found, np.arange(size + 1))
    for name, volume in maps.items():
        values = volume.data.numpy().ravel()[where].astype(np.float64)
        for parcel in atlas.parcels:
            own = values[bounds[parcel.index] : bounds[parcel.index + 1]]
            own = own[np.isfinite(own)]
            known = (own.mean(), np.median(own), own.std()) if len(own) else (np.nan,) * 3
            row = {f"{name}_{k}": float(v) for k, v in zip(STATISTICS, known, strict=True)}
            out[parcel.index] |= row
    return out
