"""Results that others computed as nodes: they stand in for the stage that would compute them."""

from __future__ import annotations

import json
from pathlib import Path

from nipype.interfaces.base import File, InputMultiObject, OutputMultiObject, Str, TraitedSpec, traits

from ...models.errors import InputError
from ...models.io import conform, itk
from ...models.population import labels
from ...models.registration import reference
from ...models.segmentation import precomputed
from ..base import Stage, StageInputSpec, about, load, save
from ..segmentation import read_measures, write_measures
from ..skullstrip import notes_on

APART = 1.0
"""Distance (mm) of a point from itself, there and back, from which given transforms are doubtful."""


class _GivenMaskInputSpec(StageInputSpec):
    in_file = File(exists=True, mandatory=True, desc="the conformed scan")
    in_given = Str(mandatory=True, desc="the mask as others made it")
    mode = traits.Enum("auto", "skip", "force", usedefault=True, desc="what is known of the scan's skull")
    plausible_ml = traits.Tuple(traits.Float, traits.Float, desc="volumes that a brain can have")


class _GivenMaskOutputSpec(TraitedSpec):
    out_mask = File(exists=True, desc="1 in the brain, uint8")
    stripped = traits.Bool(desc="whether the scan came without a skull")
    notes = traits.List(Str, desc="what a reader of the results should know")


class GivenMask(Stage):
    """Bring a mask to the scan's grid."""

    input_spec = _GivenMaskInputSpec
    output_spec = _GivenMaskOutputSpec

    def _stage(self, folder: Path) -> None:
        scan = load(self.inputs.in_file)
        with about(self.inputs.in_given):
            mask = precomputed.mask(read(self.inputs.in_given), scan.grid)
        notes = [f"The brain mask was given: {Path(self.inputs.in_given).name}."]
        if isinstance(self.inputs.plausible_ml, tuple):
            notes += notes_on(mask, *self.inputs.plausible_ml)
        self._results["out_mask"] = save(mask, folder / "mask.nii")
        self._results["stripped"] = precomputed.stripped(scan, mask, self.inputs.mode)
        self._results["notes"] = notes


class _GivenSegmentationInputSpec(StageInputSpec):
    in_file = File(exists=True, desc="the bias-corrected scan; not looked at")
    in_mask = File(exists=True, mandatory=True, desc="the brain, on the scan's grid")
    in_structures = Str(mandatory=True, desc="FreeSurfer ids as others made them")
    in_probabilities = traits.List(Str, desc="GM, WM and CSF as others made them, or nothing")
    label_table = Str("adult", usedefault=True, desc="label table of the structures")


class _GivenSegmentationOutputSpec(TraitedSpec):
    out_structures = File(exists=True, desc="FreeSurfer ids, int16")
    out_tissue = File(exists=True, desc="position in models.labels.TISSUES, uint8")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32")
    out_measures = File(exists=True, desc="JSON: volumes (mm3) and centroids (mm) by FreeSurfer id")
    notes = traits.List(Str, desc="what a reader of the results should know")


class GivenSegmentation(Stage):
    """Bring a segmentation to the scan's grid."""

    input_spec = _GivenSegmentationInputSpec
    output_spec = _GivenSegmentationOutputSpec

    def _stage(self, folder: Path) -> None:
        source = self.inputs.in_structures
        paths = self.inputs.in_probabilities or []
        shares = dict(zip(labels.DSEG_NAMES, map(read, paths), strict=True)) if paths else None
        with about(source):
            result = precomputed.segmentation(
                read(source), load(self.inputs.in_mask), shares, self.inputs.label_table
            )
        self._results["out_structures"] = save(result.structures, folder / "structures.nii")
        self._results["out_tissue"] = save(result.tissue, folder / "tissue.nii")
        self._results["out_probabilities"] = [
            save(result.probabilities[name], folder / f"{name}.nii") for name in labels.DSEG_NAMES
        ]
        self._results["out_measures"] = write_measures(folder / "measures.json", result)
        self._results["notes"] = [f"The segmentation was given: {Path(source).name}.", *result.notes]


class _GivenTissuesInputSpec(StageInputSpec):
    in_mask = File(exists=True, mandatory=True, desc="the brain, on the scan's grid")
    in_dseg = Str(mandatory=True, desc="1 gray matter, 2 white matter, 3 fluid, as others made it")
    in_probabilities = InputMultiObject(Str, mandatory=True, desc="GM, WM and CSF as others made them")


class _GivenTissuesOutputSpec(TraitedSpec):
    out_dseg = File(exists=True, desc="1 gray matter, 2 white matter, 3 fluid, int16")
    out_probabilities = OutputMultiObject(File(exists=True), desc="GM, WM and CSF, float32")
    notes = traits.List(Str, desc="what a reader of the results should know")


class GivenTissues(Stage):
    """Bring a tissue segmentation to the scan's grid."""

    input_spec = _GivenTissuesInputSpec
    output_spec = _GivenTissuesOutputSpec

    def _stage(self, folder: Path) -> None:
        grid, source = load(self.inputs.in_mask).grid, self.inputs.in_dseg
        dseg, shares = precomputed.tissues(read(source), list(map(read, self.inputs.in_probabilities)), grid)
        self._results["out_dseg"] = save(dseg, folder / "dseg.nii")
        self._results["out_probabilities"] = [
            save(share, folder / f"{name}.nii") for name, share in zip(labels.DSEG_NAMES, shares, strict=True)
        ]
        self._results["notes"] = [f"The tissues were given: {Path(source).name} and the probabilities."]


class _GivenAlignmentInputSpec(StageInputSpec):
    in_measures = File(exists=True, mandatory=True, desc="JSON with the structures' centroids")
    template = Str(mandatory=True, desc="the output space")
    in_forward = Str(mandatory=True, desc="what brings the scan into the space, ITK HDF5")
    in_inverse = Str(mandatory=True, desc="what brings the template to the scan")
    uris = traits.List(Str, desc="BIDS URIs of the two")


class _GivenAlignmentOutputSpec(TraitedSpec):
    out_transform = File(exists=True, desc="JSON: the affine, its residual, and the files of the warps")
    notes = traits.List(Str, desc="what a reader of the results should know")


class GivenAlignment(Stage):
    """Take transforms between a scan and a template in place of computing them."""

    input_spec = _GivenAlignmentInputSpec
    output_spec = _GivenAlignmentOutputSpec

    def _stage(self, folder: Path) -> None:
        given_by = self.inputs
        forward, inverse = itk.read(given_by.in_forward), itk.read(given_by.in_inverse)
        _, centroids = read_measures(given_by.in_measures)
        matrix, error_mm, apart = precomputed.alignment(forward, inverse, centroids)
        about = {"matrix": matrix.tolist(), "error_mm": error_mm, "space": given_by.template}
        folds = forward.jacobian(reference.grid_of(given_by.template)).data <= 0
        about |= {"engine": "given", "folds": float(folds.float().mean()), "sources": list(given_by.uris)}
        about |= {"forward": given_by.in_forward, "inverse": given_by.in_inverse}
        path = folder / "transform.json"
        path.write_text(json.dumps(about))
        notes = [f"The transforms to {given_by.template} were given: {Path(given_by.in_forward).name}."]
        if apart > APART:
            notes.append(
                f"The given transforms to {given_by.template} and back disagree by {apart:.1f} mm (median)."
            )
        self._results["out_transform"] = str(path)
        self._results["notes"] = notes


def read(path: str):
    """A result that others made, its problems told by its own name; an empty one is none."""
    try:
        return conform.read(path)
    except InputError as error:
        raise InputError(error.path or path, f"--derivatives: {error.reason}", error.remedy) from None
