"""Atlases: labels in the space of a template, with names, and where their parcels lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..geometry.volume import Volume, resample
from ..io import images
from ..population.labels import DSEG, LabelTable
from .names import AtlasName, find
from .tables import Parcel, about, read_table

GRAY = 0.25
"""Share of gray in a parcel's gray and white matter of the template from which it is one of gray matter.

Parcels that were drawn on the cortex of a group also hold white matter and fluid of the template."""

LEAST = 0.1
"""Least share of gray matter in all voxels of such a parcel, and of an atlas in a structure that is not the
main one of a parcel."""

PART = 0.2
"""Share of a parcel's gray matter in a structure from which the parcel belongs to that structure."""

ONE_SIDED = 3.0
"""Ratio of a parcel's voxels on both sides of the brain from which it belongs to one side only."""

DENSE = 0.4
"""Share of a structure that an atlas labels in the template from which gaps in it are filled."""


@dataclass(frozen=True)
class Atlas:
    """Labels in the space of a template.

    Attributes
    ----------
    name : AtlasName
        The atlas as the user names it.
    image : Volume, int32
        Labels in mm of the template, 0 elsewhere.
    parcels : tuple of Parcel
        Every label with a name.
    about : dict
        Title, source, citation and license, as far as they are known.
    unnamed : tuple of int
        Labels of the image that the table does not name; they are left out.
    whole : bool
        Whether it divides the whole cortex, so that every voxel of the cortex gets a parcel.
    """

    name: AtlasName
    image: Volume
    parcels: tuple[Parcel, ...]
    about: dict[str, Any]
    unnamed: tuple[int, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Places:
    """Where the parcels of an atlas lie in the template.

    Attributes
    ----------
    structures : dict of int to tuple of int
        By structure of gray matter (FreeSurfer id) the parcels that belong to it.
    dense : frozenset of int
        Structures that the atlas labels as a whole, so that gaps are filled.
    elsewhere : tuple of int
        Parcels outside of gray matter.
    """

    structures: dict[int, tuple[int, ...]]
    dense: frozenset[int]
    elsewhere: tuple[int, ...]


@lru_cache(maxsize=4)
def load(name: AtlasName) -> Atlas:
    """Load an atlas.

    Raises
    ------
    UsageError, MissingFileError
        If it is unknown or its files are missing.
    InputError
        If its files are invalid.
    """
    files = find(name)
    image = images.read(files.image)
    if image.data.ndim != 3:
        raise InputError(files.image, "it is no image of labels (3-D)", "Give a label image, *_dseg.nii.gz")
    data = image.data.numpy()
    if not np.array_equal(data, np.rint(data)) or data.min() < 0:
        raise InputError(files.image, "its values are no labels (0, 1, 2, ...)", "Give a label image")
    labels = data.astype(np.int32)
    parcels = read_table(files.table)
    known = {parcel.index for parcel in parcels}
    found = {int(k) for k in np.unique(labels) if k}
    if not found & known:
        reason = f"none of the labels in {files.image.name} is in it"
        raise InputError(files.table, reason, "Check the column index")
    unnamed = tuple(sorted(found - known))
    if unnamed:
        labels[np.isin(labels, unnamed)] = 0
    volume = image.with_data(torch.from_numpy(labels))
    known_of = about(name)
    whole = name.path is None and known_of.get("whole") is True
    return Atlas(name, volume, tuple(p for p in parcels if p.index in found), known_of, unnamed, whole)


def places(atlas: Atlas, structures: Volume, table: LabelTable) -> Places:
    """Return where the parcels of an atlas lie in the segmented template.

    Parameters
    ----------
    atlas : Atlas
        The atlas.
    structures : Volume
        Structures of the template, by index of the label table.
    table : LabelTable
        The label table.

    Returns
    -------
    Places
        Parcels by structure.
    """
    found = resample(structures, atlas.image.grid, mode="nearest").data.numpy().astype(np.int64).ravel()
    parcels = atlas.image.data.numpy().ravel()
    count = int(max(label.index for label in table)) + 1
    pairs = np.bincount(parcels[parcels > 0] * count + found[parcels > 0])
    gray, white = ([x.index for x in table if DSEG.get(x.tissue) == kind] for kind in (1, 2))
    whole = np.bincount(found, minlength=count)
    labeled = np.bincount(found[parcels > 0], minlength=count)
    inside: dict[int, list[int]] = {}
    elsewhere = []
    for parcel in atlas.parcels:
        row = pairs[parcel.index * count : (parcel.index + 1) * count]
        row = np.pad(row, (0, count - len(row)))
        own = row[gray].sum()
        if own < max(GRAY * (own + row[white].sum()), LEAST * row.sum()):
            elsewhere.append(parcel.index)
            continue
        for index in gray:
            some = row[index] == row[gray].max() or labeled[index] >= LEAST * whole[index]
            if some and row[index] >= max(PART * own, row[table[index].partner] / ONE_SIDED):
                inside.setdefault(index, []).append(parcel.index)
    dense = frozenset(k for k in inside if labeled[k] >= DENSE * whole[k])
    return Places({k: tuple(v) for k, v in inside.items()}, dense, tuple(elsewhere))
