"""Nodes of the coregistration: align images of other contrasts to the reference image, and write them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, Str, TraitedSpec, traits

from ..models.geometry.volume import Volume, resample, transform_points
from ..models.io import itk, outputs
from ..models.io.images import kind_of, open_image
from ..models.localization import upright
from ..models.preprocessing import bias, scan
from ..models.registration import coregistration
from .base import Sink, Stage, StageInputSpec, load, save
from .io import files, rounding
from .io.derivatives import Names

FAR_DEGREES, FAR_MM = 15.0, 25.0
"""Motion between two images of a session above which a note asks to check their alignment."""


class _CoregisterInputSpec(StageInputSpec):
    in_reference = File(exists=True, mandatory=True, desc="conformed reference image")
    in_mask = File(exists=True, mandatory=True, desc="brain mask of the reference image")
    sloppy = traits.Bool(False, usedefault=True, desc="whether to align coarsely")
    reorient = Str("", usedefault=True, desc="correct the orientation: auto, or the true axis codes")
    model = Str("", usedefault=True, desc="network that checks the orientation; empty for any direction")


class _CoregisterOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="bias-corrected image on the grid of the reference image")
    out_native = File(exists=True, desc="bias-corrected image on its own grid")
    out_uncorrected = File(exists=True, desc="image on the grid of the reference image, not corrected")
    out_transform = File(
        exists=True,
        desc="JSON: matrix from mm of the image to mm of the reference image, rotation, translation",
    )
    notes = traits.List(Str, desc="notes for the report")


class Coregister(Stage):
    """Align an image of another contrast (``source_file``) rigidly to the reference image."""

    input_spec = _CoregisterInputSpec
    output_spec = _CoregisterOutputSpec

    def _stage(self, folder: Path) -> None:
        said: list[str] = []
        moving = scan.read(self.inputs.source_file, notes=said)
        if self.inputs.reorient:
            moving, change = upright.correct(moving, self.inputs.reorient, model=self.inputs.model)
            said += [change.note] if change is not None else []
        fixed, mask = load(self.inputs.in_reference), load(self.inputs.in_mask)
        levels = coregistration.LEVELS[: 1 if self.inputs.sloppy else None]
        found = coregistration.rigid(moving, fixed, mask, levels=levels)
        brain = _mask_on(moving, mask, found.matrix)
        name = Path(self.inputs.source_file).name
        notes = [f"{name}: {note}" for note in said]
        native = moving
        if bool((brain.data > 0).any()):
            native, _ = bias.correct(moving, brain, shrink=8 if self.inputs.sloppy else 4)
        else:
            notes.append(f"{name} does not show the brain of the reference image: check both images.")
        moved, plain = (coregistration.apply(one, found.matrix, fixed.grid) for one in (native, moving))
        shift = found.shift(transform_points(fixed.affine, (np.array(fixed.grid.shape) - 1) / 2))
        if found.degrees > FAR_DEGREES or shift > FAR_MM:
            notes.append(
                f"{name} was rotated by {found.degrees:.1f}° and moved by {shift:.1f} mm to the reference "
                "image: check the alignment."
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
            "out_uncorrected": save(plain, folder / "uncorrected.nii"),
            "out_transform": str(path),
            "notes": notes,
        }


def _mask_on(moving: Volume, mask: Volume, matrix: np.ndarray) -> Volume:
    """Return the brain mask of the reference image on the grid of the moving image."""
    back = Volume((mask.data > 0).float(), np.linalg.inv(matrix) @ mask.affine)
    return moving.with_data(resample(back, moving.grid).data > 0.5)


class _WriteCoregisteredInputSpec(StageInputSpec):
    bids_root = Str(mandatory=True, desc="root of the dataset")
    out_dir = Str(mandatory=True, desc="root of the derivatives")
    key = Str(mandatory=True, desc="participant-session, such as sub-01_ses-02")
    other_contrasts = traits.List(Str, mandatory=True, desc="images in the dataset")
    flavor = Str("fmriprep", usedefault=True, desc="naming: fmriprep, nibabies or both")
    in_files = InputMultiObject(
        File(exists=True), mandatory=True, desc="images on the grid of the reference image"
    )
    in_natives = InputMultiObject(File(exists=True), mandatory=True, desc="images on their own grids")
    in_transforms = InputMultiObject(File(exists=True), mandatory=True, desc="JSON of each alignment")
    stripped = traits.Bool(False, usedefault=True, desc="whether the reference image has no skull")
    after = traits.Any(desc="files that are written first")


class _WriteCoregisteredOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc="files written")


class WriteCoregistered(Sink):
    """Write images of other contrasts and their transforms to the reference image (``source_file``).

    fMRIPrep expects ``desc-preproc_T2w`` on the grid of the T1w image; NiBabies expects it on its own grid,
    with transforms between the two.
    """

    input_spec = _WriteCoregisteredInputSpec
    output_spec = _WriteCoregisteredOutputSpec

    def _stage(self, folder: Path) -> None:
        inputs = self.inputs
        where = (Path(inputs.out_dir), Path(inputs.bids_root))
        reference = Names(*where, Path(inputs.source_file), inputs.key)
        lists = (inputs.other_contrasts, inputs.in_files, inputs.in_natives, inputs.in_transforms)
        written: list[Path] = []
        for source, moved, native, transform in zip(*lists, strict=True):
            names = Names(*where, Path(source), inputs.key)
            about = json.loads(Path(transform).read_text())
            own_grid = inputs.flavor == "nibabies"
            image = load(native if own_grid else moved)
            origin = open_image(source if own_grid else inputs.source_file)
            data = rounding.as_stored(image.data.numpy(), kind_of(open_image(source)))
            affine = files.own_affine(origin, image.affine) if own_grid else image.affine
            written.append(
                files.write_image(names.path(names.preproc), data, affine, files.geometry_code(origin))
            )
            matrix = np.array(about["matrix"])
            for forward, direction in ((True, matrix), (False, np.linalg.inv(matrix))):
                ending = names.between(reference.suffix, forward, own_grid)
                write = partial(itk.write_matrix, matrix=direction)
                written.append(files.write_binary(names.path(ending), write))
            for ending, content in _sidecars(
                names, reference, about, own_grid, bool(inputs.stripped)
            ).items():
                written.append(files.write_json(names.path(outputs.sidecar(ending)), content))
        self._results["out_files"] = sorted(str(path) for path in written)


def _sidecars(
    names: Names, reference: Names, about: dict[str, Any], own_grid: bool, stripped: bool
) -> dict[str, dict[str, Any]]:
    """Return sidecars by the ending of the file that they describe."""
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
