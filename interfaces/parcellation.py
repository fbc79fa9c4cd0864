"""Node that carries the parcels of atlases into an image, and their derivatives."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, Str, TraitedSpec, traits

from ..models.errors import InputError
from ..models.geometry.volume import Grid, Volume, resample
from ..models.io import images, outputs
from ..models.parcellation import atlas as atlases
from ..models.parcellation import carry, names
from ..models.population import labels
from ..models.registration import reference
from ..models.templates import spaces
from .base import Stage, StageInputSpec, load, save
from .io import color_tables, derivatives, files
from .io.derivatives import Names
from .registration import Alignment, read_alignment

LABEL_COLUMNS = ("index", "name", "color")
"""Columns of the table of labels beside the image."""

HIDDEN = ("name", "space", "license_text", "whole")
"""What is known of an atlas, but not for its sidecar: it stands elsewhere there, or is too long."""

FAR = 0.02
"""Share of the cortex far from the carried parcels from which a note says so."""

COLUMNS: dict[str, dict[str, Any]] = {
    "index": {"Description": "Label of the parcel, as in the image"},
    "name": {"Description": "Name of the parcel"},
    "volume_mm3": {"Description": "Volume of the voxels of the parcel", "Units": "mm^3"},
    "gm_volume_mm3": {
        "Description": "Sum of the probability of gray matter over the voxels of the parcel",
        "Units": "mm^3",
    },
}
"""Columns of the table of parcels, without those of maps."""


class _ParcellateInputSpec(StageInputSpec):
    in_structures = File(exists=True, mandatory=True, desc="structures, FreeSurfer ids")
    in_probabilities = InputMultiObject(
        File(exists=True), mandatory=True, desc="probabilities of GM, WM and CSF"
    )
    in_alignments = InputMultiObject(
        File(exists=True), mandatory=True, desc="JSON: registrations to the output spaces"
    )
    atlases = traits.List(Str, mandatory=True, desc="atlases as the user writes them")
    digests = traits.List(Str, desc="SHA-256 of the atlases, by which a changed one is known")
    maps = traits.Dict(Str, Str, usedefault=True, desc="images to measure in the parcels, by name")
    population = Str("adult", usedefault=True, desc="name of the population")
    label_table = Str("adult", usedefault=True, desc="label table of the structures")


class _ParcellateOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="parcels of each atlas, int32")
    out_tables = OutputMultiObject(File(exists=True), desc="JSON: their table and what is known of them")
    notes = traits.List(Str, desc="notes for the report")


class Parcellate(Stage):
    """Carry the parcels of atlases into the gray matter of an image, and measure them."""

    input_spec = _ParcellateInputSpec
    output_spec = _ParcellateOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        structures, gray = load(inputs.in_structures), load(inputs.in_probabilities[0])
        aligned = {spaces.parse(a.space).label: a for a in map(read_alignment, inputs.in_alignments)}
        maps, notes = read_maps(inputs.maps, structures.grid)
        found_images, tables = [], []
        for text in inputs.atlases:
            name = names.parse(text)
            if name.space not in aligned:
                notes.append(names.not_in_space(name, aligned))
                continue
            atlas = atlases.load(name)
            found, template = self._carried(atlas, aligned[name.space], structures)
            notes += said(atlas, found)
            found_images.append(save(found.labels, folder / f"{name.label}.nii"))
            path = folder / f"{name.label}.json"
            rows = carry.measure(atlas, found.labels, gray, maps)
            path.write_text(json.dumps(_content(atlas, found, rows, template)))
            tables.append(str(path))
        self._results |= {"out_files": found_images, "out_tables": tables, "notes": notes}

    def _carried(
        self, atlas: atlases.Atlas, found: Alignment, structures: Volume
    ) -> tuple[carry.Carried, str]:
        """Return the parcels in the image, and the output space as in the names of transforms."""
        template = reference.load(found.space, self.inputs.population)
        known = atlases.places(atlas, template.structures, labels.load(self.inputs.label_table))
        return carry.carry(atlas, known, found.inverse, structures), spaces.parse(found.space).label


def said(atlas: atlases.Atlas, found: carry.Carried) -> list[str]:
    """Return notes on what was filled, left without parcel, lost or ignored."""
    voxel, label = found.labels.grid.voxel_volume / 1000, atlas.name.label
    total = max(int((found.labels.data > 0).sum()), 1)
    out = []
    if atlas.whole and found.far > FAR * total:
        out.append(
            f"Atlas {label}: {100 * found.far / total:.0f} % of the cortex are more than {carry.REACH:g} mm "
            "from the carried parcels and have the nearest one. Inspect the parcels and the registration."
        )
    if found.left if atlas.whole else found.filled:  # regions that fill no structure leave most of it
        out.append(
            f"Atlas {label}: {found.filled} voxels of gray matter ({100 * found.filled / total:.0f} % of the "
            f"parcels) were beside the carried parcels and got the nearest one within {carry.REACH:g} mm; "
            f"{found.left} voxels ({found.left * voxel:.2g} mL) of the same structures have no parcel."
        )
    if found.lost:
        named = {parcel.index: parcel.name for parcel in atlas.parcels}
        some = ", ".join(named[k] for k in found.lost[:4])
        more = f" and {len(found.lost) - 4} more" if len(found.lost) > 4 else ""
        out.append(f"Atlas {label}: {len(found.lost)} parcels have no voxel in this image ({some}{more}).")
    if atlas.unnamed:
        some = ", ".join(map(str, atlas.unnamed[:8]))
        out.append(f"Atlas {label}: labels that its table does not name were left out ({some}).")
    return out


def read_maps(paths: Mapping[str, str], grid: Grid) -> tuple[dict[str, Volume], list[str]]:
    """Read the images to measure in the parcels, on a grid.

    Parameters
    ----------
    paths : mapping of str to str
        Files by name.
    grid : Grid
        Grid of the parcels.

    Returns
    -------
    maps : dict of str to Volume
        Images on ``grid``, nan outside of their field of view.
    notes : list of str
        A note on every image that was resampled.
    """
    out, notes = {}, []
    for name, path in paths.items():
        image = images.read(path, np.float32)
        if image.data.ndim != 3:
            raise InputError(path, f"the map {name} is no image of one volume (3-D)", "Check --maps")
        same = image.grid.shape == grid.shape and np.allclose(image.affine, grid.affine, atol=1e-3)
        if not same:
            notes.append(
                f"The map {name} ({Path(path).name}) was resampled linearly on the grid of the image."
            )
        known = torch.isfinite(image.data)
        values = torch.where(known, image.data, torch.zeros(()))
        if not same:
            share = resample(image.with_data(known.float()), grid).data
            values = resample(image.with_data(values), grid).data / share.clamp(min=1e-3)
            known = share > 0.5
        out[name] = Volume(torch.where(known, values, torch.full((), math.nan)), grid.affine)
    return out, notes


def _content(
    atlas: atlases.Atlas, found: carry.Carried, rows: dict[int, dict[str, float]], template: str
) -> dict[str, Any]:
    """Return what the sink needs of an atlas, ready for JSON."""
    parcels = {parcel.index: parcel for parcel in atlas.parcels}
    columns = [*COLUMNS][2:] + [name for name in next(iter(rows.values())) if name not in COLUMNS]
    return {
        "label": atlas.name.label,
        "space": template,
        "shipped": atlas.name.path is None,
        "whole": atlas.whole,
        "file": atlas.name.path.name if atlas.name.path else "",
        "about": atlas.about,
        "columns": columns,
        "parcels": [[p.index, p.name, p.color] for p in atlas.parcels],
        "rows": [[k, parcels[k].name, *(_cell(row[c]) for c in columns)] for k, row in rows.items()],
        "filled": found.filled,
        "left": found.left,
    }


def _cell(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "n/a"


def jobs(
    names_of: Names,
    labeled: list[str],
    tables: list[str],
    structures: Volume,
    affine: np.ndarray,
    code: int,
) -> list[Callable[[], Path]]:
    """Return functions that write image, labels and table of every atlas.

    An atlas that divides the whole cortex is also written with the other structures.

    Parameters
    ----------
    names_of : Names
        Names of the participant-session's files.
    labeled, tables : list of str
        Results of :class:`Parcellate`.
    structures : Volume
        Structures (FreeSurfer ids) on the same grid.
    affine : ndarray, shape (4, 4)
        Affine of the source image.
    code : int
        Code of the affine.

    Returns
    -------
    list of callable
        Each writes one file and returns its path.
    """
    out: list[Callable[[], Path]] = []
    for image, table in zip(labeled, tables, strict=True):
        found = json.loads(Path(table).read_text())
        kinds = ("parcels", "parcel_labels", "parcel_colors", "parcel_morph")
        ends = {kind: outputs.ending(kind, atlas=found["label"]) for kind in kinds}
        data = load(image).data.numpy()
        data = data.astype(np.int16) if data.max() < 2**15 else data
        out.append(partial(files.write_image, names_of.path(ends["parcels"]), data, affine, code))
        if found["whole"]:
            both = np.where(data > 0, data, structures.data.numpy()).astype(np.int16)
            for end in names_of.stored(outputs.ending("aparcaseg")):
                out.append(partial(files.write_image, names_of.path(end), both, affine, code))
        path = names_of.path(ends["parcel_labels"])
        out.append(partial(files.write_table, path, LABEL_COLUMNS, [tuple(row) for row in found["parcels"]]))
        parcels = [(row[0], row[1], row[2]) for row in found["parcels"]]
        out.append(partial(color_tables.write, names_of.path(ends["parcel_colors"]), parcels))
        columns = ("index", "name", *found["columns"])
        rows = [tuple(row) for row in found["rows"]]
        out.append(partial(files.write_table, names_of.path(ends["parcel_morph"]), columns, rows))
    return out


def sidecars(
    names_of: Names, tables: list[str], segmented: dict[str, Any], maps: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return the sidecars of images and tables of parcels by ending.

    Parameters
    ----------
    names_of : Names
        Names of the participant-session's files.
    tables : list of str
        Results of :class:`Parcellate`.
    segmented : dict
        Sidecar of the segmentation into structures.
    maps : mapping of str to str
        Images that were measured, by name.
    """
    out: dict[str, dict[str, Any]] = {}
    structures = names_of.uri(names_of.native(outputs.ending("structures"))[0])
    for table in tables:
        found = json.loads(Path(table).read_text())
        image = outputs.ending("parcels", atlas=found["label"])
        back = outputs.ending("inverse_transform", suffix=names_of.suffix, space=found["space"])
        about = {k: v for k, v in found["about"].items() if k not in HIDDEN}
        out[image] = {
            **segmented,
            **derivatives.described("parcels", atlas=found["label"]),
            "Atlas": {"Name": found["label"], "Space": found["space"], **about},
            "Sources": [structures, names_of.uri(back)],
            "FilledVoxels": found["filled"],
            "VoxelsWithoutParcel": found["left"],
        }
        if found["file"]:
            out[image]["Atlas"]["File"] = found["file"]
        if found["whole"]:
            out[outputs.ending("aparcaseg")] = {
                **out[image],
                **derivatives.described("aparcaseg"),
                "Sources": [structures, names_of.uri(image)],
            }
        described = {
            c: COLUMNS.get(c) or column_of_map(c, maps) for c in ("index", "name", *found["columns"])
        }
        out[outputs.ending("parcel_morph", atlas=found["label"])] = {
            **derivatives.described("parcel_morph", atlas=found["label"]),
            **described,
            "Sources": [names_of.uri(image)],
        }
    return out


def column_of_map(column: str, maps: Mapping[str, str]) -> dict[str, str]:
    """Return the description of a column with a statistic of a map.

    Examples
    --------
    >>> column_of_map("T2w_mean", {"T2w": "/data/sub-01_T2w.nii.gz"})["Description"]
    'Mean of the map T2w (sub-01_T2w.nii.gz) in the parcel'
    """
    name, _, kind = column.rpartition("_")
    file = f" ({Path(maps[name]).name})" if name in maps else ""
    return {"Description": f"{carry.STATISTICS[kind]} of the map {name}{file} in the parcel"}
