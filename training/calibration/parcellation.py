"""The parcellation of a template's cortex, from a volume of parcels and deep structures of another space.

The volume is aligned to the template by the affine of their structures. Its cortex is that of other brains,
so every parcel is smoothed, and a voxel of the template's cortex gets the parcel of its side with the largest
value.
"""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from ...models.geometry.volume import Volume
from ...models.io import images
from ...models.parcellation.tables import read_table
from ...models.registration import linear, reference
from ...models.registration.result import Anatomy
from ...models.templates import catalog

SIGMA_MM = 2.5
"""Standard deviation (mm) of the Gaussian; from 1.5 to 4 mm the parcels of heads hardly differ."""

CORTEX = {"L": 3, "R": 42}
"""Cortex (FreeSurfer id) by side."""

DEEP = {
    "thalamusproper": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "accumbensarea": (26, 58),
    "brainstem": (16, 16),
}
"""Deep structures (FreeSurfer ids, left and right) by their name in the volume."""


def divide(labels: Volume, template: Volume, sigma_mm: float = SIGMA_MM) -> Volume:
    """Divide the cortex of a template.

    Parameters
    ----------
    labels : Volume, int16
        Parcels (1000 to 1999 left, 2000 to 2999 right) and deep structures (FreeSurfer ids).
    template : Volume of integers
        Structures of the template (FreeSurfer ids).
    sigma_mm : float
        Standard deviation (mm) of the Gaussian that smooths every parcel.

    Returns
    -------
    Volume, int16
        Parcels on the grid of the template, 0 outside of the cortex and where no parcel is near.

    Raises
    ------
    InputError
        If both share too few structures.
    """
    place = linear.affine(_anatomy(labels), _anatomy(template)).forward
    found, own = place.resample(labels, template.grid, "label").data.numpy(), template.data.numpy()
    sigma = sigma_mm / np.asarray(template.grid.spacing)
    pad = np.ceil(5 * sigma).astype(int)
    out, best = np.zeros(own.shape, np.int16), np.full(own.shape, 1e-6, np.float32)
    for index in (int(k) for k in np.unique(found) if k >= 1000):
        inside = found == index
        place_of = ndimage.find_objects(inside.astype(np.uint8))[0]
        part = tuple(slice(max(0, s.start - n), s.stop + n) for s, n in zip(place_of, pad, strict=True))
        share = ndimage.gaussian_filter(inside[part].astype(np.float32), sigma, mode="constant", truncate=5.0)
        larger = (own[part] == CORTEX["L" if index < 2000 else "R"]) & (share > best[part])
        out[part][larger], best[part][larger] = index, share[larger]
    return Volume(torch.from_numpy(out), template.affine)


def _anatomy(labels: Volume) -> Anatomy:
    """Return the cortex and the deep structures as a brain to align."""
    data = labels.data.numpy()
    ids = np.where(data >= 2000, CORTEX["R"], np.where(data >= 1000, CORTEX["L"], data)).astype(np.int16)
    ids[~np.isin(ids, [*CORTEX.values(), *np.ravel(list(DEEP.values()))])] = 0
    structures = labels.with_data(torch.from_numpy(ids))
    mask = structures.with_data((structures.data > 0).to(torch.uint8))
    return reference.anatomy(structures.with_data(mask.data.float()), mask, structures, {})


def write(image: Path, names: Path, folder: Path, name: str) -> Path:
    """Divide the cortex of the default template by a volume of parcels and write ``NAME.nii.gz``.

    Parameters
    ----------
    image : Path
        Volume of parcels and deep structures.
    names : Path
        Its table (CSV) with the columns ``id``, ``label`` and ``hemisphere`` (``L`` or ``R``).
    folder : Path
        Folder with the table ``NAME.tsv`` of the parcels to write, named as in FreeSurfer
        (``ctx-lh-insula``).
    name : str
        Name of the parcellation.

    Returns
    -------
    Path
        The image.
    """
    wanted = {parcel.name: parcel.index for parcel in read_table(folder / f"{name}.tsv")}
    source = images.read(image)
    lookup = np.zeros(1 + int(source.data.max()), np.int16)
    with names.open(newline="") as file:
        for row in csv.DictReader(file):
            side, label = row["hemisphere"], row["label"]
            deep = DEEP.get(label, (0, 0))[side == "R"]
            lookup[int(row["id"])] = wanted.get(f"ctx-{side.lower()}h-{label}", deep)
    labels = source.with_data(torch.from_numpy(lookup[source.data.numpy().astype(int)]))
    divided = divide(labels, reference.load(catalog.DEFAULT).structures)
    stored = nib.Nifti1Image(divided.data.numpy(), divided.affine)
    stored.header.set_xyzt_units("mm")
    path = folder / f"{name}.nii.gz"
    path.write_bytes(gzip.compress(stored.to_bytes(), 9, mtime=0))
    return path
