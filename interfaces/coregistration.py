"""Images of other contrasts of a session as nodes: brought to the reference, and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, Str, TraitedSpec, traits

from ..models.geometry.volume import Volume, resample, transform_points
from ..models.io import conform
from ..models.preprocessing import bias
from ..models.registration import coregistration, registration
from .base import Stage, StageInputSpec, load, save
from .io import derivatives, files
from .io.derivatives import Names

FAR_DEGREES, FAR_MM = 15.0, 25.0
"""Motion between two scans of a session from which their alignment deserves a look."""


class _CoregisterInputSpec(StageInputSpec):
    in_reference = File(exists=True, mandatory=True, desc="the conformed reference image")
    in_mask = File(exists=True, mandatory=True, desc="the brain in the reference image")
    sloppy = traits.Bool(False, usedefault=True, desc="coarse only")


class _CoregisterOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="the image on the grid of the reference, bias-corrected")
    out_native = File(exists=True, desc="the bias-corrected image on its own grid")
    out_transform = File(
        exists=True, desc="JSON: matrix from its mm to the reference's, and how far it moved"
    )
    notes = traits.List(Str, desc="what a reader of the results should know")


class Coregister(Stage):
    """Bring an image of another contrast (``source_file``) to the reference, rigidly."""

    input_spec = _CoregisterInputSpec
    output_spec = _CoregisterOutputSpec

    def _stage(self, folder: Path) -> None:
        moving = conform.read(self.inputs.source_file)
        fixed, mask = load(self.inputs.in_reference), load(self.inputs.in_mask)
        levels = coregistration.LEVELS[: 1 if self.inputs.sloppy else None]
        found = coregistration.rigid(moving, fixed, mask, levels=levels)
        brain = _mask_on(moving, mask, found.matrix)
        name = Path(self.inputs.source_file).name
        notes: list[str] = []
        native = moving
        if bool((brain.data > 0).any()):
            native, _ = bias.correct(moving, brain, shrink=8 if self.inputs.sloppy else 4)
        else:
            notes.append(f"{name} does not show the brain of the reference: look at both.")
        moved = coregistration.apply(native, found.matrix, fixed.grid)
        shift = found.shift(transform_points(fixed.affine, (np.array(fixed.grid.shape) - 1) / 2))
        if found.degrees > FAR_DEGREES or shift > FAR_MM:
            notes.append(
                f"{name} was turned by {found.degrees:.1f}° and moved by {shift:.1f} mm to the reference: "
                "look at it."
            )
        about = {
            "matrix": found.matrix.tolist(),
            "degrees": round(found.degrees, 3),
            "shift_mm": round(shift, 3),
            "information": round(found.information, 4),
        }
        path = folder / "transform.json"
        path.write_text(json.dumps(about))
        self._results |= {
            "out_file": save(moved, folder / "moved.nii"),
            "out_native": save(native, folder / "native.nii"),
            "out_transform": str(path),
            "notes": notes,
        }


def _mask_on(moving: Volume, mask: Volume, matrix: np.ndarray) -> Volume:
    """The reference's brain on the grid of the image that is brought to it."""
    back = Volume((mask.data > 0).float(), np.linalg.inv(matrix) @ mask.affine)
    return moving.with_data(resample(back, moving.grid).data > 0.5)


class _WriteCoregisteredInputSpec(StageInputSpec):
    bids_root = Str(mandatory=True, desc="the dataset")
    out_dir = Str(mandatory=True, desc="the derivatives' root")
    key = Str(mandatory=True, desc="the unit, such as sub-01_ses-02")
    other_contrasts = traits.List(Str, mandatory=True, desc="the images as the dataset holds them")
    flavor = Str("fmriprep", usedefault=True, desc="for whom they are named")
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc="on the grid of the reference")
    in_natives = InputMultiObject(File(exists=True), mandatory=True, desc="on their own grids")
    in_transforms = InputMultiObject(File(exists=True), mandatory=True, desc="JSON of their alignment")
    stripped = traits.Bool(False, usedefault=True, desc="whether the reference came without a skull")
    after = traits.Any(desc="what has to be written before")


class _WriteCoregisteredOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="everything that was written")


class WriteCoregistered(Stage):
    """Write images of other contrasts (``source_file`` is the reference) and how they were aligned.

    fMRIPrep takes a ``desc-preproc_T2w`` to lie on the grid of the T1w image, NiBabies one on its own grid
    with the transforms between the two.
    """

    input_spec = _WriteCoregisteredInputSpec
    output_spec = _WriteCoregisteredOutputSpec
    _always_run = True  # what it writes lies outside the work folder, where Nipype does not look

    def _stage(self, folder: Path) -> None:
        given = self.inputs
        where = (Path(given.out_dir), Path(given.bids_root))
        reference = Names(*where, Path(given.source_file), given.key)
        lists = (given.other_contrasts, given.in_files, given.in_natives, given.in_transforms)
        written: list[Path] = []
        for source, moved, native, transform in zip(*lists, strict=True):
            names = Names(*where, Path(source), given.key)
            about = json.loads(Path(transform).read_text())
            own_grid = given.flavor == "nibabies"
            image = load(native if own_grid else moved)
            origin = nib.load(source if own_grid else given.source_file)
            data = derivatives.as_stored(image.data.numpy(), nib.load(source).get_data_dtype())
            affine = np.asarray(origin.affine) if own_grid else image.affine
            written.append(
                files.write_image(names.path(names.preproc), data, affine, files.geometry_code(origin))
            )
            matrix = np.array(about["matrix"])
            for forward, direction in ((True, matrix), (False, np.linalg.inv(matrix))):
                ending = names.between(reference.suffix, forward, own_grid)
                written.append(
                    files.write_binary(
                        names.path(ending), lambda file, m=direction: registration.write_transform(file, m)
                    )
                )
            for ending, content in _sidecars(names, reference, about, own_grid, bool(given.stripped)).items():
                path = names.path(ending)
                written.append(files.write_json(path.with_name(path.name.split(".")[0] + ".json"), content))
        self._results["out_files"] = sorted(str(path) for path in written)


def _sidecars(
    names: Names, reference: Names, about: dict[str, Any], own_grid: bool, stripped: bool
) -> dict[str, dict[str, Any]]:
    """Sidecars by the ending of what they describe."""
    there = names.between(reference.suffix, True, own_grid)
    moved = {
        "Rotation": about["degrees"],
        "RotationUnits": "degree",
        "Translation": about["shift_mm"],
        "TranslationUnits": "mm",
        "MutualInformation": about["information"],
    }
    where = "its own grid" if own_grid else f"the grid of the {reference.suffix} image, rigidly aligned"
    out = {
        names.preproc: {
            "Description": f"Bias-corrected (N4), on {where}",
            "SkullStripped": stripped,
            "Sources": [names.raw] if own_grid else [names.raw, names.uri(there)],
            "SpatialReference": names.raw if own_grid else reference.raw,
            **({} if own_grid else moved),
        }
    }
    for forward in (True, False):
        out[names.between(reference.suffix, forward, own_grid)] = {
            "Description": "Rigid, in ITK's convention, by mutual information",
            "Sources": [names.raw, reference.raw],
            "SpatialReference": reference.raw if forward else names.raw,
            **moved,
        }
    return out
